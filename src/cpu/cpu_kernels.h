// Which inner loops does an instruction set have to provide? Primitive loops over rows of numbers,
// one table per CpuLevel; everything above them is written once (cpu_*.cpp).
//
// Every function computes an element by a sequence of operations that depends only on the arguments
// of that element, never on how many rows or outputs the call has: this is what makes STRICT hold.
#pragma once

#include <cstdint>

#include "cpu/cpu_ops.h"
#include "ops/args.h"

namespace dsv3 {

// How the elements of a row are stored. kF8AsBF16: FP8 weights decoded to BF16, their block scales
// still to be applied.
enum class RowFormat : uint8_t { kBF16 = 0, kF16 = 1, kF32 = 2, kF8 = 3, kF8AsBF16 = 4 };
inline constexpr uint32_t kRowFormatCount = 5;
inline constexpr uint32_t kPlainFormatCount = 4;  // without kF8AsBF16

// Rows of a weight as the dot kernels see them.
struct WeightRows {
  const void* data = nullptr;  // [rows, cols], of the first row
  uint64_t stride = 0;         // elements between rows
  RowFormat format = RowFormat::kBF16;
  uint32_t rows = 0;
  uint32_t cols = 0;
  const float* scales = nullptr;  // F8 formats: block scales of the whole weight
  uint64_t scale_stride = 0;
  uint32_t first_row = 0;  // number of the first row in the whole weight: selects its scale block
};

// y[r * y_stride + o] = sum over k of x[r][k] * weight[o][k].
// F8 formats: the sum of each 128 columns times its block's scale, or, for rows quantised 1x128,
// times the product of that scale and the row's.
struct PanelArgs {
  WeightRows weight;               // [outs, cols]
  const void* const* x = nullptr;  // [x_rows] pointers to rows of `cols` elements
  uint32_t x_rows = 0;
  const float* x_scales = nullptr;  // [x_rows, ceil(cols/128)]; quantised rows only
  uint64_t x_scale_stride = 0;
  float* y = nullptr;
  uint64_t y_stride = 0;
  // Not null: the results go there instead, rounded to BF16. [x_rows] pointers to rows of `outs`
  uint16_t* const* y_rows = nullptr;
  // Where the weight rows lie that will be multiplied after these, and how many: a hint to prefetch
  // them. Null: unknown.
  const void* next = nullptr;
  uint32_t next_rows = 0;
  bool is_near = false;  // these rows are in a cache already, only `next` is in memory
};
using PanelFn = void (*)(const PanelArgs& args);

// out[i] = the sum over j of coef[j] * rows[j * stride + i], j ascending, plus shared[i], rounded.
struct CombineArgs {
  const float* coef = nullptr;  // [row_count]
  uint32_t row_count = 0;
  const uint16_t* rows = nullptr;
  uint64_t stride = 0;
  const uint16_t* shared = nullptr;  // null: none
  uint32_t count = 0;
  uint16_t* out = nullptr;
};

// Adjacent pairs (spec §2.3) of `rows` rows, in place, all by the same angles.
struct RotateArgs {
  uint16_t* x = nullptr;
  uint64_t stride = 0;
  uint32_t rows = 0;
  uint32_t pairs = 0;
  const float* cosines = nullptr;  // [pairs]
  const float* sines = nullptr;    // [pairs]
};

struct CpuKernels {
  CpuLevel level = CpuLevel::kScalar;
  const char* name = "";

  // By RowFormat of the weight; the rows of x are F32, or BF16. Null: convert x to F32 first.
  PanelFn panel_f32[kRowFormatCount] = {};
  PanelFn panel_bf16[kRowFormatCount] = {};
  // The same for rows quantised 1x128, given as the values of their codes in code_dtype (BF16 holds
  // them exactly). F8 formats only.
  PanelFn panel_codes[kRowFormatCount] = {};
  DType code_dtype = DType::kF32;
  // F8 weights are decoded in registers, each once, for fewer rows of x than this. More rows are
  // worth decoded weights in memory.
  uint32_t decoded_rows_min = 4;

  // dst[i] = src[i], exactly; F8 without scales. By RowFormat.
  void (*to_f32[kPlainFormatCount])(const void* src, uint32_t count, float* dst) = {};
  // Round to nearest even, as bf16_from_float.
  void (*to_bf16)(const float* src, uint32_t count, uint16_t* dst) = nullptr;
  // Exact, subnormals become normal numbers.
  void (*f8_to_bf16)(const uint8_t* src, uint32_t count, uint16_t* dst) = nullptr;
  // out[i] = the e4m3 value nearest to x[i] / scale, as e4m3_from_float; NaN stays. May alias.
  void (*to_e4m3)(const float* x, uint32_t count, float scale, float* out) = nullptr;

  // acc[i] += coef[j] * rows[j * stride + i], j ascending. By RowFormat, F8 without scales.
  void (*weighted_sum[kPlainFormatCount])(const float* coef, uint32_t row_count, const void* rows,
                                          uint64_t stride, uint32_t count, float* acc) = {};

  float (*max)(const float* x, uint32_t count) = nullptr;      // count >= 1; NaN may be passed over
  float (*max_abs)(const float* x, uint32_t count) = nullptr;  // 0 for none; NaN is passed over
  float (*sum_squares)(const float* x, uint32_t count) = nullptr;
  // x[i] = exp(x[i] - shift); returns the sum.
  float (*exp_sum)(float* x, uint32_t count, float shift) = nullptr;
  void (*scale)(float* x, uint32_t count, float factor) = nullptr;
  void (*add)(const float* x, uint32_t count, float* acc) = nullptr;
  // out[i] = weight[i] * (x[i] * factor)
  void (*mul_scaled)(const float* x, const float* weight, float factor, uint32_t count,
                     float* out) = nullptr;
  // out[i] = gate[i] / (1 + exp(-gate[i])) * up[i]; out may alias.
  void (*silu_mul)(const float* gate, const float* up, uint32_t count, float* out) = nullptr;
  // The same of BF16 numbers, rounded to BF16.
  void (*silu_mul_bf16)(const uint16_t* gate, const uint16_t* up, uint32_t count,
                        uint16_t* out) = nullptr;

  // Rows of BF16 numbers (cpu_rows_vector.h).
  // sum = residual + h in F32, residual = sum rounded; returns the sum of squares of `sum`. h null:
  // sum = residual, which stays.
  float (*add_bf16)(const uint16_t* h, uint16_t* residual, uint32_t count, float* sum) = nullptr;
  // out = x in F32; returns its sum of squares.
  float (*widen_squares)(const uint16_t* x, uint32_t count, float* out) = nullptr;
  // mul_scaled, rounded to BF16.
  void (*mul_scaled_bf16)(const float* x, const float* weight, float factor, uint32_t count,
                          uint16_t* out) = nullptr;
  void (*combine_bf16)(const CombineArgs& args) = nullptr;
  void (*rotate_bf16)(const RotateArgs& args) = nullptr;
  // The same for one row in F32.
  void (*rotate)(float* x, uint32_t pairs, const float* cosines, const float* sines) = nullptr;
  // scores = sigmoid(logits), 0 of NaN; choice = scores + bias (null: 0), -inf where that or the
  // logit is NaN. Returns how many logits are NaN.
  uint32_t (*route_scores)(const float* logits, const float* bias, uint32_t count, float* scores,
                           float* choice) = nullptr;
  // The ids of the `count` largest of x, largest first, the lower id first among equals: where only
  // -inf remains, the lowest. x is overwritten.
  void (*largest)(float* x, uint32_t size, uint32_t count, int32_t* ids) = nullptr;

  // Sampling (cpu_sample_vector.h). A number that is not finite counts as -inf.
  float (*max_finite)(const float* x, uint32_t count) = nullptr;              // -inf for none
  void (*keep_finite)(const float* x, uint32_t count, float* out) = nullptr;  // out may alias
  // out[i] = exp((x[i] - shift) * factor); returns the sum. out may be x, or null: the sum alone.
  float (*exp_finite)(const float* x, uint32_t count, float shift, float factor,
                      float* out) = nullptr;
  // The indices of all x[i] >= at_least, ascending; returns how many. `indices` holds `count`.
  uint32_t (*find_at_least)(const float* x, uint32_t count, float at_least,
                            uint32_t* indices) = nullptr;
};

// The tables. Null when this build has no functions of that level (another processor family).
const CpuKernels* cpu_kernels_scalar();
const CpuKernels* cpu_kernels_avx2();
const CpuKernels* cpu_kernels_avx512();

}  // namespace dsv3
