// out[t, h, :] = act(W_UV[h] ol), ol = sums / total of the row's splits, folded in ascending order
// (spec §2.5), for the absorbed rows of a launch.
//
// Who: grid (32 values, head, 4 rows), 4 warps. All threads fold the 4 rows' latents into shared
// memory, each its own columns; then a warp takes 8 values, its lanes stride over the latents by
// fours, and a tree adds the lanes. Folding is repeated by the dv/32 blocks of a head: from cache.
// Bytes: splits * Rkv * 4 a head and row, and W_UV once for 4 rows. Bound: memory; for one short
// row latency. Not yet run on hardware.
#include "kernels/common/device_code.h"
#include "kernels/common/numeric.h"
#include "kernels/common/warp.h"
#include "kernels/load_all.h"
#include "kernels/mla_decode.h"
#include "kernels/softmax_fold.h"
#include "kernels/weight_quad.h"

namespace dsv3::kernels {
namespace {

constexpr uint32_t kWarps = 4;
constexpr uint32_t kThreads = 32 * kWarps;
constexpr uint32_t kRows = 4;
constexpr uint32_t kValues = 32;  // of one block

// latent [Rkv rounded up to 4], a thread its own columns; zeros for a row without work.
__device__ void fold_row(const MlaDecodeParams& params, uint32_t row, uint32_t head,
                         float* latent) {
  const uint32_t rank = params.dims.latent_rank;
  const uint32_t padded = (rank + 3) / 4 * 4;
  const SplitPlan plan = row < params.row_count ? params.plan[row] : SplitPlan{};
  for (uint32_t c = threadIdx.x; c < padded; c += kThreads) latent[c] = 0.0f;
  if (plan.splits == 0) return;
  float top = minus_infinity();
  float total = 0.0f;
  for (uint32_t split = 0; split < plan.items; ++split) {
    const uint32_t slot = split == 0 ? row : kDecodeRows + plan.extra + split - 1;
    const uint64_t index = uint64_t{slot} * params.dims.heads + head;
    const float* sums = params.sums + index * rank;
    const Fold step = fold(top, total, params.states[2 * index], params.states[2 * index + 1]);
    for (uint32_t c = threadIdx.x; c < rank; c += kThreads) {
      latent[c] = split == 0 ? sums[c] : fold_sum(step, latent[c], sums[c]);
    }
    top = split == 0 ? params.states[2 * index] : step.top;
    total = split == 0 ? params.states[2 * index + 1] : step.total;
  }
  const float factor = 1.0f / total;
  for (uint32_t c = threadIdx.x; c < rank; c += kThreads) latent[c] *= factor;
}

// results[r] = W_UV[head, value] . latents[r], in every lane.
__device__ void multiply_value(const MlaDecodeParams& params, uint32_t weight_row,
                               const float* latents, float (&results)[kRows]) {
  const uint32_t rank = params.dims.latent_rank;
  const uint32_t padded = (rank + 3) / 4 * 4;
  for (float& result : results) result = 0.0f;
  for (uint32_t c = lane_index() * 4; c < rank; c += 128) {
    float weights[4];
    load_quad(params.kv_b, weight_row, c, weights);
    for (uint32_t r = 0; r < kRows; ++r) {
      for (uint32_t i = 0; i < 4; ++i) {
        results[r] = fmaf(weights[i], latents[r * padded + c + i], results[r]);
      }
    }
  }
  for (float& result : results) result = warp_sum(result);
}

__global__ void __launch_bounds__(kThreads) mla_combine(MlaDecodeParams params) {
  float* latents = &shared_memory<float>();  // [kRows, Rkv rounded up to 4]
  const MlaDims& dims = params.dims;
  const uint32_t head = blockIdx.y;
  const uint32_t row_begin = blockIdx.z * kRows;
  const uint32_t padded = (dims.latent_rank + 3) / 4 * 4;
  for (uint32_t r = 0; r < kRows; ++r) {
    fold_row(params, row_begin + r, head, latents + r * padded);
  }
  __syncthreads();
  const uint32_t first = blockIdx.x * kValues;
  const uint32_t end = min(dims.value_dim, first + kValues);
  for (uint32_t value = first + warp_index(); value < end; value += kWarps) {
    float results[kRows];
    multiply_value(params, head * (dims.nope_dim + dims.value_dim) + dims.nope_dim + value, latents,
                   results);
    for (uint32_t r = 0; r < kRows; ++r) {
      const uint32_t row = row_begin + r;
      if (lane_index() != r || row >= params.row_count || params.plan[row].splits == 0) continue;
      store_float(
          params.out.data, params.out.type,
          (params.row_begin + row) * params.out.stride + uint64_t{head} * dims.value_dim + value,
          results[r]);
    }
  }
}

}  // namespace

int launch_mla_combine_any(const MlaDecodeParams& params, gpu::Stream* stream) {
  const MlaDims& dims = params.dims;
  const uint32_t padded = (dims.latent_rank + 3) / 4 * 4;
  return launch(mla_combine,
                {.blocks = {(dims.value_dim + kValues - 1) / kValues, dims.heads,
                            (params.row_count + kRows - 1) / kRows},
                 .threads = kThreads,
                 .shared_bytes = kRows * padded * static_cast<uint32_t>(sizeof(float)),
                 .stream = stream},
                params);
}

int load_mla_combine_any() { return load(mla_combine); }

}  // namespace dsv3::kernels
