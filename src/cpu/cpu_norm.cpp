// The operations on single rows: tokens, embedding, norms, SwiGLU, copies.
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "cpu/cpu_checks.h"
#include "cpu/cpu_ops_impl.h"

namespace dsv3 {
namespace {

float norm_factor(float squares, uint32_t count, float eps) {
  return 1.0f / std::sqrt(squares / static_cast<float>(count) + eps);
}

// out = weight * x / sqrt(mean(x^2) + eps), in FP32.
void normalise(const CpuKernels& kernels, const float* x, const float* weight, uint32_t count,
               float eps, float* out) {
  const float factor = norm_factor(kernels.sum_squares(x, count), count, eps);
  kernels.mul_scaled(x, weight, factor, count, out);
}

}  // namespace

// All reads of the history before any write to it.
void CpuOps::do_take_tokens(const TakeTokensArgs& args) {
  const auto entry = [&](uint32_t row) -> int32_t& {
    return args.history[args.slots[row] * args.stride + args.positions[row]];
  };
  for (uint32_t row = 0; row < args.rows; ++row) {
    check_limit("take_tokens", "positions below", uint64_t{args.positions[row]} + 1, args.stride);
    if (args.tokens[row] < 0) args.tokens[row] = entry(row);
  }
  for (uint32_t row = 0; row < args.rows; ++row) entry(row) = args.tokens[row];
}

void CpuOps::do_embed(const EmbedArgs& args) {
  check_limit("embed", "linear_in_max", args.out.cols, scratch_.width);
  check_ids("embed", "tokens", args.tokens, args.out.rows, args.table.rows);
  run_rows(args.out.rows, args.out.cols, [&](uint32_t row, uint32_t worker) {
    const Panel panel = this->panel(worker);
    float* values = panel.scratch.row_a;
    panel.weight_row(args.table, static_cast<uint32_t>(args.tokens[row]), values);
    panel.store(values, args.out.dtype, args.out.cols, row_at(args.out, row));
  });
}

void CpuOps::do_add_norm(const AddNormArgs& args) {
  const uint32_t cols = args.out.cols;
  check_limit("add_norm", "linear_in_max", cols, scratch_.width);
  float* const weight = scratch_.norm_weight;
  panel(0).weight_row(args.weight, 0, weight);
  const bool has_h = args.h.data != nullptr;
  const bool is_bf16 = args.residual.dtype == DType::kBF16 && args.out.dtype == DType::kBF16 &&
                       (!has_h || args.h.dtype == DType::kBF16);
  // The unrounded sum feeds the norm (spec §4.1).
  run_rows(args.out.rows, 4 * uint64_t{cols}, [&](uint32_t row, uint32_t worker) {
    const Panel panel = this->panel(worker);
    float* sum = panel.scratch.row_a;
    if (is_bf16) {
      if (has_h) prefetch_row(args.h, uint64_t{row} + 1);
      const void* h = has_h ? row_at(args.h, row) : nullptr;
      const float squares =
          kernels_.add_bf16(static_cast<const uint16_t*>(h),
                            static_cast<uint16_t*>(row_at(args.residual, row)), cols, sum);
      kernels_.mul_scaled_bf16(sum, weight, norm_factor(squares, cols, args.eps), cols,
                               static_cast<uint16_t*>(row_at(args.out, row)));
      return;
    }
    panel.to_f32(row_at(args.residual, row), args.residual.dtype, cols, sum);
    if (has_h) {
      panel.to_f32(row_at(args.h, row), args.h.dtype, cols, panel.scratch.row_b);
      kernels_.add(panel.scratch.row_b, cols, sum);
      panel.store(sum, args.residual.dtype, cols, row_at(args.residual, row));
    }
    normalise(kernels_, sum, weight, cols, args.eps, sum);
    panel.store(sum, args.out.dtype, cols, row_at(args.out, row));
  });
}

void CpuOps::do_rms_norm(const RmsNormArgs& args) {
  const uint32_t cols = args.weight.cols;
  check_limit("rms_norm", "linear_in_max", cols, scratch_.width);
  float* const weight = scratch_.norm_weight;
  panel(0).weight_row(args.weight, 0, weight);
  const bool is_bf16 = args.x.dtype == DType::kBF16 && args.out.dtype == DType::kBF16;
  run_rows(args.out.rows, 4 * uint64_t{cols}, [&](uint32_t row, uint32_t worker) {
    const Panel panel = this->panel(worker);
    float* values = panel.scratch.row_a;
    if (is_bf16) {
      prefetch_row(args.x, uint64_t{row} + 1);
      const auto* x = static_cast<const uint16_t*>(row_at(args.x, row));
      const float squares = kernels_.widen_squares(x, cols, values);
      kernels_.mul_scaled_bf16(values, weight, norm_factor(squares, cols, args.eps), cols,
                               static_cast<uint16_t*>(row_at(args.out, row)));
      return;
    }
    panel.to_f32(row_at(args.x, row), args.x.dtype, cols, values);
    normalise(kernels_, values, weight, cols, args.eps, values);
    panel.store(values, args.out.dtype, cols, row_at(args.out, row));
  });
}

void CpuOps::do_swiglu(const SwigluArgs& args) {
  DSV3_ASSERT(scratch_.width > 0);
  // Rows may be wider than any linear's input, so they are worked on in pieces of the scratch row.
  const uint32_t width = scratch_.width;
  run_rows(args.out.rows, 8 * uint64_t{args.out.cols}, [&](uint32_t row, uint32_t worker) {
    const Panel panel = this->panel(worker);
    float* gate = panel.scratch.row_a;
    float* up = panel.scratch.row_b;
    for (uint32_t begin = 0; begin < args.out.cols; begin += width) {
      const uint32_t count = args.out.cols - begin < width ? args.out.cols - begin : width;
      panel.to_f32(row_at(args.gate, row, begin), args.gate.dtype, count, gate);
      panel.to_f32(row_at(args.up, row, begin), args.up.dtype, count, up);
      kernels_.silu_mul(gate, up, count, gate);
      panel.store(gate, args.out.dtype, count, row_at(args.out, row, begin));
    }
  });
}

void CpuOps::do_copy_rows(const CopyRowsArgs& args) {
  const uint64_t bytes = uint64_t{args.x.cols} * (args.x.dtype == DType::kF32 ? 4 : 2);
  for (uint32_t i = 0; i < args.count; ++i) {
    const uint32_t from = args.x_rows != nullptr ? args.x_rows[i] : i;
    const uint32_t to = args.out_rows != nullptr ? args.out_rows[i] : i;
    check_limit("copy_rows", "rows of x below", uint64_t{from} + 1, args.x.rows);
    check_limit("copy_rows", "rows of out below", uint64_t{to} + 1, args.out.rows);
    std::memcpy(row_at(args.out, to), row_at(args.x, from), bytes);
  }
}

}  // namespace dsv3
