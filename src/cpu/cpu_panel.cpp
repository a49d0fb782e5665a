#include "cpu/cpu_panel.h"

#include <algorithm>
#include <cstring>

#include "base/checked.h"
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

float activation_scale(float max_abs) {
  constexpr float kE4m3Max = 448.0f;
  constexpr float kFloor = 1e-4f;  // of max_abs: a block of zeros has a scale, too
  return std::max(max_abs, kFloor) / kE4m3Max;
}

void Panel::prepare(PanelRows& rows, DType dtype, uint32_t cols, RowFormat weight,
                    bool exact) const {
  rows.scales = nullptr;
  if (quant == ActivationQuant::k1x128 && weight == RowFormat::kF8 && !exact) {
    quantise(rows, dtype, cols);
    return;
  }
  const bool in_place = !exact && kernels.panel_bf16[static_cast<uint32_t>(weight)] != nullptr;
  rows.is_f32 = dtype == DType::kF32 || !in_place;
  if (dtype == DType::kF32 || in_place) return;
  for (uint32_t r = 0; r < rows.count; ++r) {
    float* copy = scratch.x_f32 + uint64_t{r} * cols;
    to_f32(rows.rows[r], dtype, cols, copy);
    rows.rows[r] = copy;
  }
}

// Spec §4.4. The values of the codes are kept instead of the codes, so that every level multiplies
// them as it multiplies other rows.
void Panel::quantise(PanelRows& rows, DType dtype, uint32_t cols) const {
  const DType code_dtype = kernels.code_dtype;
  rows.is_f32 = code_dtype == DType::kF32;
  rows.scales = scratch.x_scales;
  rows.scale_stride = ceil_div(cols, kBlock);
  for (uint32_t r = 0; r < rows.count; ++r) {
    const ConstRows from(rows.rows[r], dtype, 1, cols, cols);
    const Rows codes{scratch.x_f32 + uint64_t{r} * cols, code_dtype, 1, cols, cols};
    float* scales = scratch.x_scales + r * rows.scale_stride;
    for (uint32_t begin = 0; begin < cols; begin += kBlock) {
      const uint32_t count = std::min(kBlock, cols - begin);
      float block[kBlock];
      to_f32(row_at(from, 0, begin), dtype, count, block);
      const float scale = activation_scale(kernels.max_abs(block, count));
      kernels.to_e4m3(block, count, scale, block);
      store(block, code_dtype, count, row_at(codes, 0, begin));
      scales[begin / kBlock] = scale;
    }
    rows.rows[r] = codes.data;
  }
}

void Panel::multiply(const WeightRows& weight, const PanelRows& rows, float* y,
                     uint64_t y_stride) const {
  const auto format = static_cast<uint32_t>(weight.format);
  const PanelFn* by_format = rows.is_f32 ? kernels.panel_f32 : kernels.panel_bf16;
  if (rows.scales != nullptr) by_format = kernels.panel_codes;
  DSV3_ASSERT(by_format[format] != nullptr);
  by_format[format]({.weight = weight,
                     .x = rows.rows,
                     .x_rows = rows.count,
                     .x_scales = rows.scales,
                     .x_scale_stride = rows.scale_stride,
                     .y = y,
                     .y_stride = y_stride});
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
