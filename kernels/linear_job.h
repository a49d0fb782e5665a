// What one block of a linear multiplies: which rows, which weights, by which kind of product, and
// where the results go.
#pragma once

#include "kernels/common/device_code.h"
#include "kernels/common/numeric.h"
#include "kernels/linear.h"

namespace dsv3::kernels {

// How x and weight are multiplied: BF16 by BF16, BF16 by decoded F8, codes by codes, or in FP32.
enum class Product : uint8_t { kBf16, kF8, kCodes, kPlain };

// Rows first .. first + count of y, or order[...] of them, times one weight or two.
struct LinearJob {
  Weights gate;  // the only weight, or the first of a pair
  Weights up;    // the second
  bool is_pair = false;
  uint32_t first = 0;
  uint32_t count = 0;
  const uint32_t* order = nullptr;
};

// False when block (., blockIdx.y) has nothing to do.
__device__ __forceinline__ bool find_job(const LinearParams& params, uint32_t tile_rows,
                                         LinearJob& job) {
  const ExpertRows& rows = params.experts;
  const uint32_t index = blockIdx.y;
  if (rows.experts == nullptr) {
    job.gate = params.weight;
    job.first = index * tile_rows;
    job.count = params.y.rows - job.first < tile_rows ? params.y.rows - job.first : tile_rows;
    return true;
  }
  uint32_t expert = 0;
  if (rows.jobs == nullptr) {
    expert = static_cast<uint32_t>(rows.ids[index]);
    job.first = index;
    job.count = 1;
  } else {
    const ExpertJob piece = rows.jobs[index];
    expert = piece.expert;
    job.first = piece.first;
    job.count = piece.count;
    job.order = rows.order;
  }
  if (job.count == 0 || expert >= rows.expert_count) return false;
  job.is_pair = rows.part == ExpertPart::kGateUp;
  if (job.is_pair) {
    job.gate = rows.experts[expert].gate;
    job.up = rows.experts[expert].up;
  } else {
    job.gate = rows.experts[expert].down;
  }
  return true;
}

// The row of y that is the job's `index`th.
__device__ __forceinline__ uint32_t job_row(const LinearJob& job, uint32_t index) {
  return job.order != nullptr ? job.order[job.first + index] : job.first + index;
}

__device__ __forceinline__ Product product_of(const LinearParams& params, const LinearJob& job) {
  const Type type = job.gate.type;
  if (job.is_pair && job.up.type != type) return Product::kPlain;
  if (type == Type::kF8E4M3 && params.x_codes.codes != nullptr) return Product::kCodes;
  if (params.x.type != Type::kBF16) return Product::kPlain;
  if (type == Type::kF8E4M3) return Product::kF8;
  return type == Type::kBF16 ? Product::kBf16 : Product::kPlain;
}

// y[row, column] from the finished sums: one, or those of gate and up.
__device__ __forceinline__ void store_result(const LinearParams& params, bool is_pair, uint64_t row,
                                             uint32_t column, float gate, float up) {
  const Matrix& y = params.y;
  float value = gate;
  if (is_pair) {
    if (y.type == Type::kBF16) {
      gate = bf16_to_float(bf16_from_float(gate));
      up = bf16_to_float(bf16_from_float(up));
    }
    value = gate / (1.0f + expf(-gate)) * up;
  }
  store_float(y.data, y.type, row * y.stride + column, value);
}

}  // namespace dsv3::kernels
