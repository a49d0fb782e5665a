// A tile of a linear without tensor cores: any type of x by any type of weight, in FP32. It is also
// where gate and up of an expert differ in type.
#pragma once

#include "kernels/common/eight.h"
#include "kernels/common/warp.h"
#include "kernels/linear_job.h"

namespace dsv3::kernels {

inline constexpr uint32_t kPlainRows = linear_tile_shape(LinearTile::kPlain).rows;

// Columns col .. col+3 of a weight's row as they are stored; col is a multiple of 4 below cols, and
// what lies past cols is zero.
__device__ __forceinline__ void load_four(const Weights& weight, uint32_t row, uint32_t col,
                                          float (&out)[4]) {
  for (uint32_t i = 0; i < 4; ++i) {
    out[i] = col + i < weight.cols
                 ? load_float(weight.data, weight.type, row * weight.stride + col + i)
                 : 0.0f;
  }
}

// sums[r] = weight row `out` . row r of x, or of its codes where the weight is F8E4M3 and they
// exist, r < count <= kPlainRows, for every lane. A lane takes four columns of each block of 128,
// blocks ascending: its products in order, times the block's scales, added to its sum; then the
// lanes' sums as warp_sum adds them.
__device__ __forceinline__ void plain_sums(const LinearParams& params, const Weights& weight,
                                           uint32_t out, const uint32_t (&x_rows)[kPlainRows],
                                           uint32_t count, float (&sums)[kPlainRows]) {
  for (float& sum : sums) sum = 0.0f;
  const uint32_t cols = params.x.cols;
  const Codes& codes = params.x_codes;
  const bool has_codes = weight.type == Type::kF8E4M3 && codes.codes != nullptr;
  const void* x = has_codes ? codes.codes : params.x.data;
  const Type x_type = has_codes ? Type::kF8E4M3 : params.x.type;
  const uint64_t x_stride = has_codes ? codes.stride : params.x.stride;
  for (uint32_t col = lane_index() * 4; col < cols; col += kBlock) {
    float weights[4];
    load_four(weight, out, col, weights);
    const float scale = weight.scales == nullptr
                            ? 1.0f
                            : weight.scales[out / kBlock * weight.scale_stride + col / kBlock];
    for (uint32_t r = 0; r < kPlainRows; ++r) {
      if (r >= count) continue;
      float partial = 0.0f;
      for (uint32_t i = 0; i < 4; ++i) {
        const float value =
            col + i < cols ? load_float(x, x_type, x_rows[r] * x_stride + col + i) : 0.0f;
        partial = fmaf(weights[i], value, partial);
      }
      const float x_scale =
          has_codes ? codes.scales[x_rows[r] * codes.scale_stride + col / kBlock] : 1.0f;
      sums[r] = fmaf(partial, scale * x_scale, sums[r]);
    }
  }
  for (float& sum : sums) sum = warp_sum(sum);
}

// The block's results: `tile_outs` columns of y (half of them for a pair), a warp per column.
__device__ __forceinline__ void plain_tile(const LinearParams& params, const LinearJob& job,
                                           uint32_t tile_outs) {
  const uint32_t outs = job.is_pair ? tile_outs / 2 : tile_outs;
  const uint32_t first = blockIdx.x * outs;
  const uint32_t end = first + outs < params.y.cols ? first + outs : params.y.cols;
  for (uint32_t out = first + warp_index(); out < end; out += blockDim.x / 32) {
    for (uint32_t begin = 0; begin < job.count; begin += kPlainRows) {
      const uint32_t left = job.count - begin;
      const uint32_t count = left < kPlainRows ? left : kPlainRows;
      uint32_t x_rows[kPlainRows];
      for (uint32_t r = 0; r < kPlainRows; ++r) {
        const uint32_t row = r < count ? job_row(job, begin + r) : 0;
        x_rows[r] = row / params.experts.x_share;
      }
      float gate[kPlainRows];
      float up[kPlainRows];
      plain_sums(params, job.gate, out, x_rows, count, gate);
      if (job.is_pair) plain_sums(params, job.up, out, x_rows, count, up);
      for (uint32_t r = 0; r < kPlainRows; ++r) {
        if (r >= count || lane_index() != r) continue;
        store_result(params, job.is_pair, job_row(job, begin + r), out, gate[r],
                     job.is_pair ? up[r] : 0.0f);
      }
    }
  }
}

}  // namespace dsv3::kernels
