// A block of rows against a block of weight rows, whatever their dtypes: converts and decodes what
// the kernels cannot read in place.
#pragma once

#include <cstdint>

#include "cpu/cpu_kernels.h"
#include "cpu/cpu_scratch.h"

namespace dsv3 {

RowFormat row_format(DType dtype);

// Address of element `col` of row `row`.
inline const void* row_at(const ConstRows& view, uint64_t row, uint64_t col = 0) {
  const uint64_t offset = row * view.stride + col;
  return static_cast<const std::byte*>(view.data) + offset * (view.dtype == DType::kF32 ? 4 : 2);
}
inline void* row_at(const Rows& view, uint64_t row, uint64_t col = 0) {
  const uint64_t offset = row * view.stride + col;
  return static_cast<std::byte*>(view.data) + offset * (view.dtype == DType::kF32 ? 4 : 2);
}

// Asks the caches for a row that is worked on after this one: it may lie in another core's cache,
// from where the lines of one row alone come too slowly. Rows that `view` does not have: nothing.
inline void prefetch_row(const ConstRows& view, uint64_t row) {
  if (row >= view.rows) return;
  constexpr uint32_t kLine = 64;
  const auto* const at = static_cast<const char*>(row_at(view, row));
  const uint64_t bytes = uint64_t{view.cols} * (view.dtype == DType::kF32 ? 4 : 2);
  for (uint64_t i = 0; i < bytes; i += kLine) __builtin_prefetch(at + i, 0, 3);
}

// The scale of 128 activations whose largest magnitude is `max_abs` (spec §4.4).
float activation_scale(float max_abs);

// Up to kPanelRows rows of x, ready for the kernels of one weight format.
struct PanelRows {
  const void* rows[kPanelRows] = {};
  uint32_t count = 0;
  bool is_f32 = false;
  const float* scales = nullptr;  // [count, ceil(cols/128)] when rows are codes (profile 1x128)
  uint64_t scale_stride = 0;
};

// Where the results of a panel go: row i is row first + i of `rows`, or ids[first + i].
struct PanelOutput {
  Rows rows;
  uint32_t first = 0;
  const uint32_t* ids = nullptr;

  void* at(uint32_t i, uint32_t col) const {
    return row_at(rows, ids != nullptr ? ids[first + i] : first + i, col);
  }
};

// Some outputs of a weight, and which weight rows are read after them (null: unknown).
struct OutRange {
  uint32_t first = 0;
  uint32_t count = 0;
  const void* next = nullptr;
  uint32_t next_count = 0;
};

// Address of row `row` of a weight.
const void* weight_row_at(const Weight& weight, uint64_t row);

// Outputs first .. end of a weight, or to its last one; `after` is read when the weight ends (null:
// unknown).
OutRange out_range(const Weight& weight, uint32_t first, uint32_t end, const Weight* after);

// The loops of one worker: kernels of the level, the worker's own memory, the context's profile.
struct Panel {
  const CpuKernels& kernels;
  const WorkerScratch& scratch;
  ActivationQuant quant = ActivationQuant::kNone;

  // How many rows of `dtype` one call takes: as many as stay in the second cache, or as the scratch
  // memory holds where they must be converted.
  uint32_t rows_at_once(DType dtype, uint32_t cols, RowFormat weight, bool exact = false) const;

  // `rows` holds pointers to `cols` elements of `dtype`. Makes of them what the kernels read for
  // `weight` (in x_f32, so that the last call's rows are gone): themselves, F32, or, for F8 weights
  // under profile 1x128, the values of their codes. `exact`: always F32.
  void prepare(PanelRows& rows, DType dtype, uint32_t cols, RowFormat weight,
               bool exact = false) const;

  // y[r * y_stride + o] = rows[r] . weight row (first + o), o < outs.
  void multiply(const Weight& weight, uint32_t first, uint32_t outs, const PanelRows& rows,
                float* y, uint64_t y_stride) const;
  // The same, rounded once to the dtype of `out`, at columns first .. first + count.
  void multiply_into(const Weight& weight, const OutRange& range, const PanelRows& rows,
                     const PanelOutput& out) const;
  // The same as BF16 into rows of its own, from column 0.
  void multiply_bf16(const Weight& weight, const OutRange& range, const PanelRows& rows,
                     uint16_t* const* y) const;
  // The same as multiply for rows that are no weight: keys.
  void multiply(const WeightRows& weight, const PanelRows& rows, float* y, uint64_t y_stride) const;

  void to_f32(const void* src, DType dtype, uint32_t count, float* dst) const;
  // Rounds to `dtype` (BF16 or F32) and stores.
  void store(const float* src, DType dtype, uint32_t count, void* dst) const;
  // Rounds in place.
  void round(float* x, DType dtype, uint32_t count) const;
  // Row `row` of a weight, dequantised. [weight.cols]
  void weight_row(const Weight& weight, uint32_t row, float* dst) const;

 private:
  bool reads_in_place(DType dtype, RowFormat weight, bool exact) const;
  void quantise(PanelRows& rows, DType dtype, uint32_t cols) const;
  bool keeps_group(const Weight& weight, uint32_t row_count) const;
  WeightRows keep_group(WeightRows part) const;
  // Fills in what depends on the rows and calls the kernel.
  void call(PanelArgs& args, const PanelRows& rows) const;
  void multiply(const Weight& weight, const OutRange& range, const PanelRows& rows,
                PanelArgs args) const;
};

}  // namespace dsv3
