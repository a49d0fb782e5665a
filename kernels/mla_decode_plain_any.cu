// What mla_decode_any.cu computes, for any Rkv, dr and number of heads and every type of page, with
// FP32 queries and probabilities and no tensor cores: F32 checkpoints and models of odd widths.
//
// Who: a block of 64 threads an item: one row, one head, one split of 512 keys. Keys come in tiles
// of a page: a thread makes one key's score, columns ascending; then each owns every 64th latent
// and adds the keys to it, ascending. Sums stand in shared memory, 4 (2 Rkv + dr) bytes in all.
// Bytes: every head reads the keys by itself, from cache. Bound: latency of loads; simple on
// purpose. Not yet run on hardware.
#include "kernels/common/device_code.h"
#include "kernels/common/numeric.h"
#include "kernels/common/warp.h"
#include "kernels/latent_pages.h"
#include "kernels/load_all.h"
#include "kernels/mla_decode_plain.h"
#include "kernels/mla_split.h"
#include "kernels/softmax_fold.h"

namespace dsv3::kernels {
namespace {

constexpr uint32_t kThreads = kPageTokens;

struct Shared {
  float slots[kThreads / 32];
  float probabilities[kPageTokens];
  float rows[1];  // query [Rkv+dr], then sums [Rkv]
};

struct HeadState {
  float top;
  float total;
};

// Folds the page that begins at position `begin` into the state and the sums.
__device__ void attend_page(const MlaDecodeParams& params, const SplitItem& item, uint32_t begin,
                            HeadState& state, Shared& shared) {
  const uint32_t rank = params.dims.latent_rank;
  const uint32_t width = params.pages.width;
  const float* query = shared.rows;
  float* sums = shared.rows + width;
  const int32_t page = item.pages[begin / kPageTokens];
  const uint32_t keys = min(kPageTokens, item.position + 1 - begin);
  float score = minus_infinity();
  if (threadIdx.x < keys) {
    const CachedRow row = cached_row(params.pages, rank, page, threadIdx.x);
    float sum = 0.0f;
    for (uint32_t c = 0; c < width; ++c) {
      sum = fmaf(query[c], cached_value(params.pages, row, rank, c), sum);
    }
    score = sum * (params.scale * kLog2E);
  }
  const float page_top = block_max(score, shared.slots);
  const float top = page_top > state.top ? page_top : state.top;
  const float factor = exp2_below(state.top, top);
  const float probability = exp2_below(score, top);
  shared.probabilities[threadIdx.x] = probability;
  state.total = fmaf(state.total, factor, block_sum(probability, shared.slots));
  state.top = top;
  for (uint32_t c = threadIdx.x; c < rank; c += kThreads) {
    float sum = sums[c] * factor;
    for (uint32_t key = 0; key < keys; ++key) {
      const CachedRow row = cached_row(params.pages, rank, page, key);
      sum = fmaf(shared.probabilities[key], cached_value(params.pages, row, rank, c), sum);
    }
    sums[c] = sum;
  }
  __syncthreads();
}

__device__ void attend_item(const MlaDecodeParams& params, const SplitItem& item, Shared& shared) {
  const uint32_t rank = params.dims.latent_rank;
  const uint32_t width = params.pages.width;
  const uint64_t query = (uint64_t{item.row} * params.dims.heads + item.group) * width;
  for (uint32_t c = threadIdx.x; c < width; c += kThreads) {
    shared.rows[c] = static_cast<const float*>(params.queries)[query + c];
  }
  float* sums = shared.rows + width;
  const uint64_t index = uint64_t{item.slot} * params.dims.heads + item.group;
  float* to = params.sums + index * rank;
  HeadState folded{};
  for (uint32_t split = item.split_begin; split < item.split_end; ++split) {
    for (uint32_t c = threadIdx.x; c < rank; c += kThreads) sums[c] = 0.0f;
    __syncthreads();
    HeadState state{minus_infinity(), 0.0f};
    const uint32_t end = min((split + 1) * kSplitTokens, item.position + 1);
    for (uint32_t begin = split * kSplitTokens; begin < end; begin += kPageTokens) {
      attend_page(params, item, begin, state, shared);
    }
    const bool is_first = split == item.split_begin;
    const Fold step = fold(folded.top, folded.total, state.top, state.total);
    for (uint32_t c = threadIdx.x; c < rank; c += kThreads) {
      to[c] = is_first ? sums[c] : fold_sum(step, to[c], sums[c]);
    }
    folded = is_first ? state : HeadState{step.top, step.total};
  }
  if (threadIdx.x == 0) {
    params.states[2 * index] = folded.top;
    params.states[2 * index + 1] = folded.total;
  }
}

__global__ void __launch_bounds__(kThreads) mla_decode_plain(MlaDecodeParams params) {
  auto& shared = shared_memory<Shared>();
  const uint32_t items = *params.items * params.dims.heads;
  for (uint32_t item = blockIdx.x; item < items; item += gridDim.x) {
    attend_item(params, split_item(params, params.dims.heads, item), shared);
    __syncthreads();
  }
}

}  // namespace

int launch_mla_decode_plain_any(const MlaDecodeParams& params, gpu::Stream* stream) {
  const uint32_t items = params.row_count * params.dims.heads * params.splits_max;
  const uint32_t floats = params.pages.width + params.dims.latent_rank;
  return launch(mla_decode_plain,
                {.blocks = {min(items, 16 * params.multiprocessors), 1, 1},
                 .threads = kThreads,
                 .shared_bytes = static_cast<uint32_t>(sizeof(Shared) + floats * sizeof(float)),
                 .stream = stream},
                params);
}

int load_mla_decode_plain_any() { return load(mla_decode_plain); }

}  // namespace dsv3::kernels
