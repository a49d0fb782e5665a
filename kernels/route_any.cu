// route    s = sigmoid(logits); choice = s + bias; the groups_kept groups with the largest sum of
//          their two best choices stay; the K best choices; weights = s / (sum + 1e-20) * scaling
//          (spec §3.3).  logits [T, E], bias [E], ids and weights [T, K].
//          Who does what: a warp per row, up to four rows a block. A lane looks at every 32nd
//          expert (group) and the warp agrees on the best one: K + groups_kept rounds of five
//          shuffles. Scores and choices wait in shared memory. Bytes: 4 E a row; bound: latency of
//          the rounds.
// combine  out[t] = act(sum over k ascending of weights[t, k] * y[t*K + k] + shared[t])   [T, H]
//          Who does what: a thread owns eight neighbouring columns of a row. Bytes: K + 1 reads and
//          a write of the row; bound: memory.
// Not yet run on hardware.
#include "kernels/common/device_code.h"
#include "kernels/common/eight.h"
#include "kernels/common/order_key.h"
#include "kernels/common/warp.h"
#include "kernels/load_all.h"
#include "kernels/route.h"

namespace dsv3::kernels {
namespace {

constexpr uint32_t kWarpsMax = 4;
constexpr uint32_t kSharedBytes = 48 * 1024;  // more needs a smaller block
constexpr uint32_t kCombineThreads = 256;

__device__ __forceinline__ bool is_nan(float value) {
  return (__float_as_uint(value) & 0x7fffffffu) > 0x7f800000u;
}

// One row in shared memory. Choices and group scores are order keys; kNoKey: taken or dropped.
struct RowChoice {
  float* scores;     // [E]
  uint32_t* choice;  // [E]
  uint32_t* groups;  // [G]
};

__device__ __forceinline__ uint32_t key_or_lowest(float value) {
  return order_key(is_nan(value) ? -INFINITY : value);
}

// The index of the largest key not yet taken, the lowest among equals, for every lane; takes it.
__device__ uint32_t take_largest(uint32_t* keys, uint32_t count) {
  uint64_t best = 0;
  for (uint32_t i = lane_index(); i < count; i += 32) {
    const uint64_t here = ranked(keys[i], i);
    best = here > best ? here : best;
  }
  const uint32_t index = ranked_index(warp_max(best));
  __syncwarp();
  if (lane_index() == 0) keys[index] = kNoKey;
  __syncwarp();
  return index;
}

// Sigmoid and choice of every expert; the warp's number of NaN logits, for every lane.
__device__ uint32_t score_row(const RouteParams& params, uint32_t row, const RowChoice& mine) {
  const uint32_t experts = params.shape.experts;
  const float* logits = params.logits + static_cast<uint64_t>(row) * experts;
  uint32_t nans = 0;
  for (uint32_t e = lane_index(); e < experts; e += 32) {
    const float logit = logits[e];
    nans += is_nan(logit) ? 1 : 0;
    const float score = is_nan(logit) ? 0.0f : 1.0f / (1.0f + expf(-logit));
    const float biased = score + (params.bias != nullptr ? params.bias[e] : 0.0f);
    mine.scores[e] = score;
    mine.choice[e] = key_or_lowest(is_nan(logit) ? -INFINITY : biased);
  }
  return warp_sum(nans);
}

// The sum of the two largest choices of a group (trap T22).
__device__ uint32_t group_key(const uint32_t* choice, uint32_t size) {
  uint32_t first = order_key(-INFINITY);
  uint32_t second = first;
  for (uint32_t i = 0; i < size; ++i) {
    const uint32_t key = choice[i];
    second = key > first ? first : (key > second ? key : second);
    first = key > first ? key : first;
  }
  return key_or_lowest(value_of_key(first) + value_of_key(second));
}

// -inf for every expert outside the kept groups (never 0: trap T23).
__device__ void drop_groups(const RouterDims& shape, const RowChoice& mine) {
  const uint32_t size = shape.experts / shape.groups;
  for (uint32_t g = lane_index(); g < shape.groups; g += 32) {
    mine.groups[g] = group_key(mine.choice + g * size, size);
  }
  __syncwarp();
  for (uint32_t i = 0; i < shape.groups_kept; ++i) take_largest(mine.groups, shape.groups);
  for (uint32_t e = lane_index(); e < shape.experts; e += 32) {
    if (mine.groups[e / size] != kNoKey) mine.choice[e] = order_key(-INFINITY);
  }
  __syncwarp();
}

__global__ void __launch_bounds__(kWarpsMax * 32) route_kernel(RouteParams params) {
  const RouterDims& shape = params.shape;
  const uint32_t row = blockIdx.x * (blockDim.x / 32) + warp_index();
  if (row >= params.rows) return;  // the whole warp: the block never waits as one
  uint32_t* arena = &shared_memory<uint32_t>() + warp_index() * (2 * shape.experts + shape.groups);
  const RowChoice mine{reinterpret_cast<float*>(arena), arena + shape.experts,
                       arena + 2 * shape.experts};
  const uint32_t nans = score_row(params, row, mine);
  __syncwarp();
  if (shape.groups > 1) drop_groups(shape, mine);

  const uint32_t slots = shape.experts_per_token;
  int32_t* ids = params.ids + static_cast<uint64_t>(row) * slots;
  float* weights = params.weights + static_cast<uint64_t>(row) * slots;
  float sum = 0.0f;
  for (uint32_t k = 0; k < slots; ++k) {
    const uint32_t expert = take_largest(mine.choice, shape.experts);
    sum += mine.scores[expert];  // the unbiased score itself (traps T21, T24)
    if (lane_index() == 0) {
      ids[k] = static_cast<int32_t>(expert);
      weights[k] = mine.scores[expert];
      if (params.expert_tokens != nullptr) atomic_add(params.expert_tokens + expert, 1);
    }
  }
  if (lane_index() != 0) return;
  for (uint32_t k = 0; k < slots; ++k) {
    const float weight = shape.normalise ? weights[k] / (sum + 1e-20f) : weights[k];
    weights[k] = weight * shape.scaling;
  }
  if (params.nan_count != nullptr && nans != 0) atomicAdd(params.nan_count, nans);
}

__global__ void __launch_bounds__(kCombineThreads)
    expert_combine_kernel(ExpertCombineParams params) {
  const uint32_t row = blockIdx.x;
  const uint32_t col = (blockIdx.y * blockDim.x + threadIdx.x) * 8;
  if (col >= params.out.cols) return;
  const uint32_t count = params.out.cols - col;
  const uint64_t first = static_cast<uint64_t>(row) * params.experts_per_token;
  Eight sum = {};
  for (uint32_t k = 0; k < params.experts_per_token; ++k) {
    const float weight = params.weights[first + k];
    const Eight y =
        load_eight(params.y.data, params.y.type, (first + k) * params.y.stride + col, count);
    for (uint32_t i = 0; i < 8; ++i) sum.at[i] += weight * y.at[i];
  }
  if (params.shared.data != nullptr) {
    const Eight shared =
        load_eight(params.shared.data, params.shared.type, row * params.shared.stride + col, count);
    for (uint32_t i = 0; i < 8; ++i) sum.at[i] += shared.at[i];
  }
  store_eight(params.out.data, params.out.type, row * params.out.stride + col, count, sum);
}

}  // namespace

int launch_route_any(const RouteParams& params, gpu::Stream* stream) {
  const uint32_t row_bytes = (2 * params.shape.experts + params.shape.groups) * 4;
  const uint32_t fitting = kSharedBytes / row_bytes;
  const uint32_t warps = fitting < 1 ? 1 : (fitting < kWarpsMax ? fitting : kWarpsMax);
  const Launch where{.blocks = {(params.rows + warps - 1) / warps, 1, 1},
                     .threads = warps * 32,
                     .shared_bytes = warps * row_bytes,
                     .stream = stream};
  return launch(route_kernel, where, params);
}

int launch_expert_combine_any(const ExpertCombineParams& params, gpu::Stream* stream) {
  const uint32_t groups = (params.out.cols + 7) / 8;
  if (groups == 0) return 0;
  const uint32_t threads = groups < kCombineThreads ? (groups + 31) / 32 * 32 : kCombineThreads;
  const Launch where{.blocks = {params.out.rows, (groups + threads - 1) / threads, 1},
                     .threads = threads,
                     .shared_bytes = 0,
                     .stream = stream};
  return launch(expert_combine_kernel, where, params);
}

int load_route_any() { return load(route_kernel, expert_combine_kernel); }

}  // namespace dsv3::kernels
