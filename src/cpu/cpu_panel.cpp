#include "cpu/cpu_panel.h"

#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "base/error.h"

namespace dsv3 {
namespace {

constexpr uint32_t kLineBytes = 64;

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

// From so many rows on, weight rows that straddle cache lines are copied first (a mapped file
// aligns them to little): every load would be two, which costs the kernels a third of their speed.
constexpr uint32_t kAlignedRowsMin = 12;
constexpr uint32_t kGatherOuts = 16;  // outputs of scattered F32 rows at a time

}  // namespace

const void* weight_row_at(const Weight& weight, uint64_t row) {
  const uint32_t bytes = format_bytes(row_format(weight.dtype));
  return static_cast<const std::byte*>(weight.data) + row * weight.stride * bytes;
}

// A worker that goes on in its range takes a quarter of what it took before (cpu_units.h).
OutRange out_range(const Weight& weight, uint32_t first, uint32_t end, const Weight* after) {
  OutRange range{.first = first, .count = std::min(end, weight.rows) - first};
  if (end < weight.rows) {
    range.next = weight_row_at(weight, end);
    range.next_count = range.count / 4;
  } else if (after != nullptr) {
    range.next = after->data;
    range.next_count = after->rows;
  }
  return range;
}

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

bool Panel::reads_in_place(DType dtype, RowFormat weight, bool exact) const {
  if (quant == ActivationQuant::k1x128 && weight == RowFormat::kF8 && !exact) return false;
  if (dtype == DType::kF32) return true;
  return !exact && kernels.panel_bf16[static_cast<uint32_t>(weight)] != nullptr;
}

uint32_t Panel::rows_at_once(DType dtype, uint32_t cols, RowFormat weight, bool exact) const {
  if (!reads_in_place(dtype, weight, exact)) return kRowBlock;
  constexpr uint32_t kRowsBytes = 256u << 10;
  const uint32_t fit = kRowsBytes / (cols * (dtype == DType::kF32 ? 4 : 2) + 1);
  return std::clamp(fit / 3 * 3, kRowBlock, kPanelRows);
}

void Panel::prepare(PanelRows& rows, DType dtype, uint32_t cols, RowFormat weight,
                    bool exact) const {
  rows.scales = nullptr;
  if (quant == ActivationQuant::k1x128 && weight == RowFormat::kF8 && !exact) {
    quantise(rows, dtype, cols);
    return;
  }
  const bool in_place = reads_in_place(dtype, weight, exact);
  rows.is_f32 = dtype == DType::kF32 || !in_place;
  if (in_place) return;
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

void Panel::call(PanelArgs& args, const PanelRows& rows) const {
  const auto format = static_cast<uint32_t>(args.weight.format);
  const PanelFn* by_format = rows.is_f32 ? kernels.panel_f32 : kernels.panel_bf16;
  if (rows.scales != nullptr) by_format = kernels.panel_codes;
  DSV3_ASSERT(by_format[format] != nullptr);
  args.x = rows.rows;
  args.x_rows = rows.count;
  args.x_scales = rows.scales;
  args.x_scale_stride = rows.scale_stride;
  by_format[format](args);
}

void Panel::multiply(const WeightRows& weight, const PanelRows& rows, float* y,
                     uint64_t y_stride) const {
  PanelArgs args{.weight = weight, .y = y, .y_stride = y_stride};
  call(args, rows);
}

// Whether a group of weight rows is better kept in scratch memory, as aligned BF16, for all rows.
bool Panel::keeps_group(const Weight& weight, uint32_t row_count) const {
  if (weight.dtype == DType::kF8E4M3) return row_count >= kernels.decoded_rows_min;
  if (weight.dtype != DType::kBF16 || row_count < kAlignedRowsMin) return false;
  if (kernels.panel_bf16[static_cast<uint32_t>(RowFormat::kBF16)] == nullptr) return false;
  const auto address = reinterpret_cast<uintptr_t>(weight.data);
  return (address | weight.stride * sizeof(uint16_t)) % kLineBytes != 0;
}

WeightRows Panel::keep_group(WeightRows part) const {
  const uint64_t stride = ceil_div<uint64_t>(part.cols, kLineElements) * kLineElements;
  for (uint32_t i = 0; i < part.rows; ++i) {
    uint16_t* const kept = scratch.decoded + i * stride;
    if (part.format == RowFormat::kF8) {
      const auto* bytes = static_cast<const uint8_t*>(part.data) + i * part.stride;
      kernels.f8_to_bf16(bytes, part.cols, kept);
    } else {
      const auto* row = static_cast<const uint16_t*>(part.data) + i * part.stride;
      std::memcpy(kept, row, part.cols * sizeof(uint16_t));
    }
  }
  part.data = scratch.decoded;
  part.stride = stride;
  if (part.format == RowFormat::kF8) part.format = RowFormat::kF8AsBF16;
  return part;
}

// Few rows of x read a weight once, and decode FP8 in registers.
void Panel::multiply(const Weight& weight, const OutRange& range, const PanelRows& rows,
                     PanelArgs args) const {
  args.weight = rows_of(weight, range.first, range.count);
  args.next = range.next;
  args.next_rows = range.next_count;
  if (!keeps_group(weight, rows.count)) {
    call(args, rows);
    return;
  }
  uint16_t* y_rows[kPanelRows];
  if (args.y_rows != nullptr) std::copy_n(args.y_rows, rows.count, y_rows);
  args.is_near = true;
  for (uint32_t o = 0; o < range.count; o += kDecodeRows) {
    PanelArgs block = args;
    block.weight =
        keep_group(rows_of(weight, range.first + o, std::min(kDecodeRows, range.count - o)));
    const uint32_t after = o + kDecodeRows;
    block.next = after < range.count ? weight_row_at(weight, range.first + after) : range.next;
    if (args.y_rows != nullptr) {
      block.y_rows = y_rows;
    } else {
      block.y = args.y + o;
    }
    call(block, rows);
    for (uint32_t i = 0; args.y_rows != nullptr && i < rows.count; ++i) y_rows[i] += kDecodeRows;
  }
}

void Panel::multiply(const Weight& weight, uint32_t first, uint32_t outs, const PanelRows& rows,
                     float* y, uint64_t y_stride) const {
  multiply(weight, OutRange{first, outs}, rows, PanelArgs{.y = y, .y_stride = y_stride});
}

void Panel::multiply_bf16(const Weight& weight, const OutRange& range, const PanelRows& rows,
                          uint16_t* const* y) const {
  multiply(weight, range, rows, PanelArgs{.y_rows = y});
}

void Panel::multiply_into(const Weight& weight, const OutRange& range, const PanelRows& rows,
                          const PanelOutput& out) const {
  if (out.rows.dtype == DType::kBF16) {
    uint16_t* y[kPanelRows];
    for (uint32_t i = 0; i < rows.count; ++i) {
      y[i] = static_cast<uint16_t*>(out.at(i, range.first));
    }
    multiply_bf16(weight, range, rows, y);
    return;
  }
  if (out.ids == nullptr) {
    multiply(
        weight, range, rows,
        PanelArgs{.y = static_cast<float*>(out.at(0, range.first)), .y_stride = out.rows.stride});
    return;
  }
  float tile[kPanelRows * kGatherOuts];
  for (uint32_t o = 0; o < range.count; o += kGatherOuts) {
    const uint32_t count = std::min(kGatherOuts, range.count - o);
    multiply(weight, range.first + o, count, rows, tile, kGatherOuts);
    for (uint32_t i = 0; i < rows.count; ++i) {
      std::memcpy(out.at(i, range.first + o), tile + size_t{i} * kGatherOuts,
                  count * sizeof(float));
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
