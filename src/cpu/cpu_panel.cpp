#include "cpu/cpu_panel.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace dsv3 {
namespace {

uint32_t format_bytes(RowFormat format) {
  if (format == RowFormat::kF32) return 4;
  return format == RowFormat::kF8 ? 1 : 2;
}

WeightRows rows_of(const Weight& weight, uint32_t first, uint32_t count) {
  const RowFormat format = row_format(weight.dtype);
  const uint64_t offset = first * weight.stride * format_bytes(format);
  return {.data = static_cast<const std::byte*>(weight.data) + offset,
          .stride = weight.stride,
          .format = format,
          .rows = count,
          .cols = weight.cols,
          .scales = weight.scales,
          .scale_stride = weight.scale_stride,
          .first_row = first};
}

}  // namespace

RowFormat row_format(DType dtype) {
  switch (dtype) {
    case DType::kBF16:
      return RowFormat::kBF16;
    case DType::kF16:
      return RowFormat::kF16;
    case DType::kF32:
      return RowFormat::kF32;
    case DType::kF8E4M3:
      return RowFormat::kF8;
    default:
      fail(Status::kInternal, "rows of dtype ", dtype_name(dtype),
           " found, wanted BF16, F16, F32 or F8_E4M3");
  }
}

void Panel::prepare(PanelRows& rows, DType dtype, uint32_t cols, RowFormat weight,
                    bool exact) const {
  const bool in_place = !exact && kernels.panel_bf16[static_cast<uint32_t>(weight)] != nullptr;
  rows.is_f32 = dtype == DType::kF32 || !in_place;
  if (dtype == DType::kF32 || in_place) return;
  for (uint32_t r = 0; r < rows.count; ++r) {
    float* copy = scratch.x_f32 + uint64_t{r} * cols;
    to_f32(rows.rows[r], dtype, cols, copy);
    rows.rows[r] = copy;
  }
}

void Panel::multiply(const WeightRows& weight, const PanelRows& rows, float* y,
                     uint64_t y_stride) const {
  const auto format = static_cast<uint32_t>(weight.format);
  const PanelFn panel = rows.is_f32 ? kernels.panel_f32[format] : kernels.panel_bf16[format];
  panel({.weight = weight, .x = rows.rows, .x_rows = rows.count, .y = y, .y_stride = y_stride});
}

void Panel::multiply(const Weight& weight, uint32_t first, uint32_t outs, const PanelRows& rows,
                     float* y, uint64_t y_stride) const {
  // One row of x reads FP8 once and decodes in registers; for more the decoded rows are kept.
  if (weight.dtype != DType::kF8E4M3 || rows.count == 1) {
    multiply(rows_of(weight, first, outs), rows, y, y_stride);
    return;
  }
  for (uint32_t o = 0; o < outs; o += kDecodeRows) {
    WeightRows part = rows_of(weight, first + o, std::min(kDecodeRows, outs - o));
    for (uint32_t i = 0; i < part.rows; ++i) {
      const auto* bytes = static_cast<const uint8_t*>(part.data) + i * part.stride;
      kernels.f8_to_bf16(bytes, part.cols, scratch.decoded + uint64_t{i} * part.cols);
    }
    part.data = scratch.decoded;
    part.stride = part.cols;
    part.format = RowFormat::kF8AsBF16;
    multiply(part, rows, y + o, y_stride);
  }
}

void Panel::multiply_into(const Weight& weight, uint32_t first, uint32_t outs,
                          const PanelRows& rows, const PanelOutput& out) const {
  float tile[kRowBlock * kOutBlock];
  for (uint32_t o = first; o < first + outs; o += kOutBlock) {
    const uint32_t count = std::min(kOutBlock, first + outs - o);
    multiply(weight, o, count, rows, tile, kOutBlock);
    for (uint32_t i = 0; i < rows.count; ++i) {
      store(tile + size_t{i} * kOutBlock, out.rows.dtype, count, out.at(i, o));
    }
  }
}

void Panel::to_f32(const void* src, DType dtype, uint32_t count, float* dst) const {
  kernels.to_f32[static_cast<uint32_t>(row_format(dtype))](src, count, dst);
}

void Panel::store(const float* src, DType dtype, uint32_t count, void* dst) const {
  if (dtype == DType::kF32) {
    std::memcpy(dst, src, count * sizeof(float));
  } else {
    kernels.to_bf16(src, count, static_cast<uint16_t*>(dst));
  }
}

void Panel::round(float* x, DType dtype, uint32_t count) const {
  if (dtype == DType::kF32) return;
  for (uint32_t i = 0; i < count; ++i) x[i] = bf16_round(x[i]);
}

void Panel::weight_row(const Weight& weight, uint32_t row, float* dst) const {
  const WeightRows one = rows_of(weight, row, 1);
  to_f32(one.data, weight.dtype, weight.cols, dst);
  if (weight.scales == nullptr) return;
  const float* scales = weight.scales + row / kBlock * weight.scale_stride;
  for (uint32_t begin = 0; begin < weight.cols; begin += kBlock) {
    kernels.scale(dst + begin, std::min(kBlock, weight.cols - begin), scales[begin / kBlock]);
  }
}

}  // namespace dsv3
