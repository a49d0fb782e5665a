// What mla_prefill_any.cu computes, for any width and type, with FP32 probabilities and no tensor
// cores: F32 checkpoints and models of odd widths.
//
// Who: a warp a row and head. Keys come in pages from absolute position 0: a lane makes the scores
// of two keys, columns ascending; then it owns every 32nd value column and adds the row's keys to
// it, ascending. Sums stand in shared memory, 4 (dn + dr + dv + 64) bytes a warp. A row never looks
// at keys past its own position.
// Bytes: every row reads the keys and values by itself, from cache. Bound: latency of loads; simple
// on purpose. Not yet run on hardware.
#include "kernels/common/device_code.h"
#include "kernels/common/numeric.h"
#include "kernels/common/warp.h"
#include "kernels/load_all.h"
#include "kernels/mla_prefill.h"
#include "kernels/softmax_fold.h"

namespace dsv3::kernels {
namespace {

constexpr uint32_t kWarps = 4;
constexpr uint32_t kThreads = 32 * kWarps;

// One warp's part of shared memory.
struct WarpRow {
  float* query;          // [dn+dr]
  float* sums;           // [dv]
  float* probabilities;  // [64]
};

struct RowState {
  float top;
  float total;
};

__device__ __forceinline__ float score_of(const MlaPrefillParams& params, uint32_t head,
                                          uint32_t key, const float* query) {
  const MlaDims& dims = params.dims;
  const uint64_t nope =
      key * params.expanded.stride + uint64_t{head} * (dims.nope_dim + dims.value_dim);
  const uint64_t rope = key * params.latents.stride + dims.latent_rank;
  float sum = 0.0f;
  for (uint32_t c = 0; c < dims.nope_dim; ++c) {
    sum = fmaf(query[c], load_float(params.expanded.data, params.expanded.type, nope + c), sum);
  }
  for (uint32_t c = 0; c < dims.rope_dim; ++c) {
    sum = fmaf(query[dims.nope_dim + c],
               load_float(params.latents.data, params.latents.type, rope + c), sum);
  }
  return sum * (params.scale * kLog2E);
}

// Folds keys [begin, begin + keys) of the chunk, at most a page.
__device__ __forceinline__ void attend_page(const MlaPrefillParams& params, uint32_t head,
                                            uint32_t begin, uint32_t keys, const WarpRow& row,
                                            RowState& state) {
  const MlaDims& dims = params.dims;
  float scores[2];
  float page_top = minus_infinity();
  for (uint32_t i = 0; i < 2; ++i) {
    const uint32_t key = lane_index() + 32 * i;
    scores[i] = key < keys ? score_of(params, head, begin + key, row.query) : minus_infinity();
    page_top = scores[i] > page_top ? scores[i] : page_top;
  }
  page_top = warp_max(page_top);
  const float top = page_top > state.top ? page_top : state.top;
  const float factor = exp2_below(state.top, top);
  float own = 0.0f;
  for (uint32_t i = 0; i < 2; ++i) {
    const float probability = exp2_below(scores[i], top);
    row.probabilities[lane_index() + 32 * i] = probability;
    own += probability;
  }
  state.total = fmaf(state.total, factor, warp_sum(own));
  state.top = top;
  __syncwarp();
  const uint64_t values = uint64_t{head} * (dims.nope_dim + dims.value_dim) + dims.nope_dim;
  for (uint32_t c = lane_index(); c < dims.value_dim; c += 32) {
    float sum = row.sums[c] * factor;
    for (uint32_t key = 0; key < keys; ++key) {
      const uint64_t at = (begin + key) * params.expanded.stride + values + c;
      sum = fmaf(row.probabilities[key], load_float(params.expanded.data, params.expanded.type, at),
                 sum);
    }
    row.sums[c] = sum;
  }
  __syncwarp();
}

__global__ void __launch_bounds__(kThreads) mla_prefill_plain(MlaPrefillParams params) {
  const MlaDims& dims = params.dims;
  const uint32_t head = blockIdx.x;
  const uint32_t index = blockIdx.y * kWarps + warp_index();
  const uint32_t position = params.position_begin + index;
  if (index >= params.q.rows || position < params.key_begin) return;
  const uint32_t width = dims.nope_dim + dims.rope_dim;
  WarpRow row;
  row.query = &shared_memory<float>() + warp_index() * (width + dims.value_dim + kPageTokens);
  row.sums = row.query + width;
  row.probabilities = row.sums + dims.value_dim;
  for (uint32_t c = lane_index(); c < width; c += 32) {
    row.query[c] = load_float(params.q.data, params.q.type,
                              index * params.q.stride + uint64_t{head} * width + c);
  }
  float* carried = params.states + (uint64_t{index} * dims.heads + head) * params.state_stride;
  const bool is_first = params.key_begin == 0;
  RowState state{minus_infinity(), 0.0f};
  if (!is_first) state = {carried[dims.value_dim], carried[dims.value_dim + 1]};
  for (uint32_t c = lane_index(); c < dims.value_dim; c += 32) {
    row.sums[c] = is_first ? 0.0f : carried[c];
  }
  __syncwarp();
  const uint32_t keys = min(params.latents.rows, position + 1 - params.key_begin);
  for (uint32_t begin = 0; begin < keys; begin += kPageTokens) {
    attend_page(params, head, begin, min(kPageTokens, keys - begin), row, state);
  }
  const bool is_done = position < params.key_begin + params.latents.rows;
  const float factor = 1.0f / state.total;
  for (uint32_t c = lane_index(); c < dims.value_dim; c += 32) {
    if (is_done) {
      store_float(params.out.data, params.out.type,
                  index * params.out.stride + uint64_t{head} * dims.value_dim + c,
                  row.sums[c] * factor);
    } else {
      carried[c] = row.sums[c];
    }
  }
  if (is_done || lane_index() != 0) return;
  carried[dims.value_dim] = state.top;
  carried[dims.value_dim + 1] = state.total;
}

}  // namespace

int launch_mla_prefill_plain_any(const MlaPrefillParams& params, gpu::Stream* stream) {
  const MlaDims& dims = params.dims;
  const uint32_t floats = dims.nope_dim + dims.rope_dim + dims.value_dim + kPageTokens;
  return launch(mla_prefill_plain,
                {.blocks = {dims.heads, (params.q.rows + kWarps - 1) / kWarps, 1},
                 .threads = kThreads,
                 .shared_bytes = kWarps * floats * static_cast<uint32_t>(sizeof(float)),
                 .stream = stream},
                params);
}

int load_mla_prefill_plain_any() { return load(mla_prefill_plain); }

}  // namespace dsv3::kernels
