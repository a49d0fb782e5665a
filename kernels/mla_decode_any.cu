// For an absorbed row, 16 of its heads and a split of 512 keys (aligned to absolute positions):
//   s[h, j] = scale (queries[h, :Rkv] . c_j + queries[h, Rkv:] . kr_j),  p = 2^(s / ln 2 - max),
//   sums[h, :] = sum over j of p[h, j] c_j,  states[h] = (max, sum over j of p)      (spec §2.5)
// on tensor cores, for Rkv 512 and dr 64 (every published member), BF16 or F8E4M3 pages. Other
// shapes and F32: mla_decode_plain_any.cu.
//
// Who: up to two blocks of 8 warps on a multiprocessor loop over items. Keys come in tiles of 32,
// double buffered by cp.async (F8: through registers, dequantised exactly to BF16). QK: warp w
// takes 8 keys and half of the 576 columns; the halves are added in order. Softmax: warp w takes 2
// heads, a lane one key. PV: warp w owns 64 of the 512 latents, all keys. Three barriers a tile.
// Heads past N are zero rows. Keys past the row's position are zeros in K and V and -inf in s.
// Probabilities are rounded to BF16 for PV and their total is the sum of the rounded ones, so that
// the result is a true mean: the tensor cores take nothing else at this rate, and the spec's
// reference profile (§4.1) rounds there too.
//
// A row without slots of its own for its splits is one item that folds split after split into its
// slot, by the operations of mla_combine: the same bits.
//
// Shared memory 97 KiB. Bytes: a tile of 32 keys is 36 KB (BF16), read once for 16 heads, by
// further groups from L2. Operations: 16 * 32 * (576 + 512) * 2 = 1.1 MFLOP a tile.
// Bound: memory with 16 heads (30 FLOP a byte); L2 and mma.sync with 128. Not yet run on hardware.
#include "kernels/common/async_copy.h"
#include "kernels/common/device_code.h"
#include "kernels/common/matrix_load.h"
#include "kernels/common/mma.h"
#include "kernels/common/numeric.h"
#include "kernels/common/warp.h"
#include "kernels/latent_pages.h"
#include "kernels/load_all.h"
#include "kernels/mla_decode_plain.h"
#include "kernels/mla_split.h"
#include "kernels/softmax_fold.h"

namespace dsv3::kernels {
namespace {

constexpr uint32_t kRank = 512;
constexpr uint32_t kRope = 64;
constexpr uint32_t kWidth = kRank + kRope;
constexpr uint32_t kHeads = 16;  // rows of one mma
constexpr uint32_t kTile = 32;   // keys
constexpr uint32_t kWarps = 8;
constexpr uint32_t kThreads = 32 * kWarps;
// Rows begin 16 bytes further on than a multiple of 128: fetching 8 of them meets all banks once.
constexpr uint32_t kStride = kWidth + 8;
constexpr uint32_t kColumns = kRank / kWarps;  // latents of one warp

static_assert(kPageTokens % kTile == 0 && kSplitTokens % kPageTokens == 0, "a tile has one page");
static_assert(kTile == 32, "a lane holds one key in softmax");
static_assert(kWarps == 2 * (kTile / 8), "QK: 8 keys and half of the columns a warp");

struct Shared {
  uint16_t query[kHeads][kStride];
  uint16_t keys[2][kTile][kStride];
  uint16_t probabilities[kHeads][kTile + 8];
  float scores[2][kHeads][kTile + 1];  // of each half of the columns
  float factor[kHeads];                // of what was summed before this tile
  float top[kHeads];                   // of the finished split
  float total[kHeads];
  float folded_top[kHeads];  // of the splits before it
  float folded_total[kHeads];
};
static_assert(sizeof(Shared) <= 99 * 1024, "the smallest GPUs give a block 99 KiB");

// 16 heads of one query; zeros past the last.
__device__ void load_query(const MlaDecodeParams& params, const SplitItem& item, Shared& shared) {
  constexpr uint32_t kPieces = kWidth / 8;
  const auto* queries = static_cast<const uint16_t*>(params.queries);
  const uint32_t first = item.group * kHeads;
  for (uint32_t i = threadIdx.x; i < kHeads * kPieces; i += kThreads) {
    const uint32_t head = i / kPieces;
    const uint32_t piece = i % kPieces * 8;
    const bool is_real = first + head < params.dims.heads;
    const uint64_t at =
        (uint64_t{item.row} * params.dims.heads + (is_real ? first + head : 0)) * kWidth + piece;
    async_copy16(&shared.query[head][piece], queries + at, is_real);
  }
}

struct alignas(16) Pieces {
  uint32_t word[4];
};

// Sixteen e4m3 latents times a power of two, as BF16 (exact).
__device__ void store_dequantised(const Pieces& codes, float scale, uint16_t* to) {
  for (uint32_t half = 0; half < 2; ++half) {
    Pieces out;
    for (uint32_t i = 0; i < 4; ++i) {
      const uint32_t word = codes.word[half * 2 + i / 2] >> (i % 2 * 16);
      const float low = e4m3_to_float(static_cast<uint8_t>(word)) * scale;
      const float high = e4m3_to_float(static_cast<uint8_t>(word >> 8)) * scale;
      out.word[i] = bf16_from_float(low) | static_cast<uint32_t>(bf16_from_float(high)) << 16;
    }
    *reinterpret_cast<Pieces*>(to + half * 8) = out;
  }
}

// Starts bringing the keys [begin, begin + kTile) to `keys`; those past the row's position are 0.
template <bool kF8>
__device__ void load_tile(const MlaDecodeParams& params, const SplitItem& item, uint32_t begin,
                          uint16_t (&keys)[kTile][kStride]) {
  constexpr uint32_t kFirst = kF8 ? kRank : 0;  // columns from here on are copied as they are
  constexpr uint32_t kPieces = (kWidth - kFirst) / 8;
  const int32_t page = item.pages[begin / kPageTokens];
  const uint32_t slot = begin % kPageTokens;
  for (uint32_t i = threadIdx.x; i < kTile * kPieces; i += kThreads) {
    const uint32_t key = i / kPieces;
    const uint32_t piece = i % kPieces * 8;
    const bool is_real = begin + key <= item.position;
    const CachedRow row = cached_row(params.pages, kRank, page, slot + (is_real ? key : 0));
    const unsigned char* from = kF8 ? row.rope : row.latent;
    async_copy16(&keys[key][kFirst + piece], from + piece * 2, is_real);
  }
  if constexpr (kF8) {
    for (uint32_t i = threadIdx.x; i < kTile * (kRank / 16); i += kThreads) {
      const uint32_t key = i / (kRank / 16);
      const uint32_t column = i % (kRank / 16) * 16;
      Pieces codes{};
      float scale = 0.0f;
      if (begin + key <= item.position) {
        const CachedRow row = cached_row(params.pages, kRank, page, slot + key);
        codes = *reinterpret_cast<const Pieces*>(row.latent + column);
        scale = row.scales[column / kBlock];
      }
      store_dequantised(codes, scale, &keys[key][column]);
    }
  }
  async_commit();
}

// scores[half] of 8 keys: this warp's half of the columns, ascending.
__device__ void multiply_keys(const uint16_t (&keys)[kTile][kStride], Shared& shared) {
  const uint32_t lane = lane_index();
  const uint32_t first_key = warp_index() % (kTile / 8) * 8;
  const uint32_t half = warp_index() / (kTile / 8);
  float d[4] = {};
  for (uint32_t column = half * (kWidth / 2); column < (half + 1) * (kWidth / 2); column += 32) {
    uint32_t b[4];
    load_matrices(b, &keys[first_key + lane % 8][column + lane / 8 * 8]);
    for (uint32_t step = 0; step < 2; ++step) {
      uint32_t a[4];
      load_matrices(a, &shared.query[lane % 16][column + step * 16 + lane / 16 * 8]);
      const uint32_t pair[2] = {b[2 * step], b[2 * step + 1]};
      mma_bf16(d, a, pair);
    }
  }
  const uint32_t row = lane / 4;
  const uint32_t key = first_key + lane % 4 * 2;
  shared.scores[half][row][key] = d[0];
  shared.scores[half][row][key + 1] = d[1];
  shared.scores[half][row + 8][key] = d[2];
  shared.scores[half][row + 8][key + 1] = d[3];
}

// A head's maximum and total, alike in all lanes of the warp that owns it.
struct HeadState {
  float top;
  float total;
};

// Folds the tile's scores of heads 2w and 2w+1; lane = key.
__device__ void soften(float scale, bool is_key, HeadState (&states)[2], Shared& shared) {
  for (uint32_t i = 0; i < 2; ++i) {
    const uint32_t head = warp_index() * 2 + i;
    const uint32_t key = lane_index();
    const float sum = shared.scores[0][head][key] + shared.scores[1][head][key];
    const float score = is_key ? sum * scale : minus_infinity();
    const float tile_top = warp_max(score);
    const float top = tile_top > states[i].top ? tile_top : states[i].top;
    const float factor = exp2_below(states[i].top, top);
    const uint16_t probability = bf16_from_float(exp2_below(score, top));
    states[i].total = fmaf(states[i].total, factor, warp_sum(bf16_to_float(probability)));
    states[i].top = top;
    shared.probabilities[head][key] = probability;
    if (key == 0) shared.factor[head] = factor;
  }
}

// sums[n] (16 heads x 8 latents) = sums[n] * factor + P V over this warp's latents.
__device__ void multiply_values(const uint16_t (&keys)[kTile][kStride], const Shared& shared,
                                float (&sums)[kColumns / 8][4]) {
  const uint32_t lane = lane_index();
  const float low = shared.factor[lane / 4];
  const float high = shared.factor[lane / 4 + 8];
  for (auto& sum : sums) {
    sum[0] *= low;
    sum[1] *= low;
    sum[2] *= high;
    sum[3] *= high;
  }
  for (uint32_t key = 0; key < kTile; key += 16) {
    uint32_t a[4];
    load_matrices(a, &shared.probabilities[lane % 16][key + lane / 16 * 8]);
#pragma unroll
    for (uint32_t n = 0; n < kColumns / 8; n += 2) {
      uint32_t b[4];
      load_matrices_transposed(
          b, &keys[key + lane % 16][warp_index() * kColumns + n * 8 + lane / 16 * 8]);
      const uint32_t first[2] = {b[0], b[1]};
      const uint32_t second[2] = {b[2], b[3]};
      mma_bf16(sums[n], a, first);
      mma_bf16(sums[n + 1], a, second);
    }
  }
}

// Stores the split's result in the item's slot, folded into the splits before it.
__device__ void finish_split(const MlaDecodeParams& params, const SplitItem& item, bool is_first,
                             const HeadState (&states)[2], float (&sums)[kColumns / 8][4],
                             Shared& shared) {
  const uint32_t lane = lane_index();
  for (uint32_t i = 0; i < 2 && lane == 0; ++i) {
    shared.top[warp_index() * 2 + i] = states[i].top;
    shared.total[warp_index() * 2 + i] = states[i].total;
  }
  __syncthreads();
  for (uint32_t i = 0; i < 2; ++i) {
    const uint32_t row = lane / 4 + i * 8;
    const uint32_t head = item.group * kHeads + row;
    if (head >= params.dims.heads) continue;
    const Fold step =
        fold(is_first ? minus_infinity() : shared.folded_top[row],
             is_first ? 0.0f : shared.folded_total[row], shared.top[row], shared.total[row]);
    float* to = params.sums + (uint64_t{item.slot} * params.dims.heads + head) * kRank +
                warp_index() * kColumns + lane % 4 * 2;
    for (uint32_t n = 0; n < kColumns / 8; ++n) {
      for (uint32_t c = 0; c < 2; ++c) {
        const float fresh = sums[n][i * 2 + c];
        to[n * 8 + c] = is_first ? fresh : fold_sum(step, to[n * 8 + c], fresh);
      }
    }
  }
  __syncthreads();
  if (threadIdx.x >= kHeads) return;
  const uint32_t row = threadIdx.x;
  Fold step{shared.top[row], shared.total[row], 0.0f, 1.0f};
  if (!is_first) {
    step = fold(shared.folded_top[row], shared.folded_total[row], step.top, step.total);
  }
  shared.folded_top[row] = step.top;
  shared.folded_total[row] = step.total;
  const uint32_t head = item.group * kHeads + row;
  if (head >= params.dims.heads) return;
  float* state = params.states + 2 * (uint64_t{item.slot} * params.dims.heads + head);
  state[0] = step.top;
  state[1] = step.total;
}

template <bool kF8>
__device__ void attend_item(const MlaDecodeParams& params, const SplitItem& item, Shared& shared) {
  const uint32_t last = min(item.split_end * kSplitTokens - 1, item.position);
  const uint32_t first = item.split_begin * kSplitTokens;
  load_query(params, item, shared);
  load_tile<kF8>(params, item, first, shared.keys[0]);
  HeadState states[2] = {{minus_infinity(), 0.0f}, {minus_infinity(), 0.0f}};
  float sums[kColumns / 8][4] = {};
  uint32_t buffer = 0;
  for (uint32_t begin = first; begin <= last; begin += kTile) {
    async_wait<0>();
    __syncthreads();
    const auto& keys = shared.keys[buffer];
    buffer ^= 1u;
    if (begin + kTile <= last) {
      load_tile<kF8>(params, item, begin + kTile, shared.keys[buffer]);
    }
    multiply_keys(keys, shared);
    __syncthreads();
    soften(params.scale * kLog2E, begin + lane_index() <= item.position, states, shared);
    __syncthreads();
    multiply_values(keys, shared, sums);
    const bool ends_split = (begin + kTile) % kSplitTokens == 0 || begin + kTile > last;
    if (!ends_split) continue;
    finish_split(params, item, begin < first + kSplitTokens, states, sums, shared);
    for (HeadState& state : states) state = {minus_infinity(), 0.0f};
    for (auto& sum : sums) {
      for (float& value : sum) value = 0.0f;
    }
  }
}

template <bool kF8>
__global__ void __launch_bounds__(kThreads, 2) mla_decode(MlaDecodeParams params) {
  auto& shared = shared_memory<Shared>();
  const uint32_t groups = (params.dims.heads + kHeads - 1) / kHeads;
  const uint32_t items = *params.items * groups;
  for (uint32_t item = blockIdx.x; item < items; item += gridDim.x) {
    attend_item<kF8>(params, split_item(params, groups, item), shared);
    __syncthreads();
  }
}

bool is_aligned(const void* address) { return reinterpret_cast<uintptr_t>(address) % 16 == 0; }

}  // namespace

Type decode_query_type(const MlaDecodeParams& params) {
  const bool is_f8 = params.pages.type == Type::kF8E4M3;
  const bool fits = params.dims.latent_rank == kRank && params.dims.rope_dim == kRope &&
                    params.pages.type != Type::kF32 && is_aligned(params.pages.data) &&
                    params.pages.page_stride % (is_f8 ? 16 : 8) == 0;
  return fits ? Type::kBF16 : Type::kF32;
}

int launch_mla_decode_any(const MlaDecodeParams& params, gpu::Stream* stream) {
  if (decode_query_type(params) == Type::kF32) return launch_mla_decode_plain_any(params, stream);
  const uint32_t groups = (params.dims.heads + kHeads - 1) / kHeads;
  const uint32_t items = params.row_count * groups * params.splits_max;
  const Launch where = {.blocks = {min(items, 2 * params.multiprocessors), 1, 1},
                        .threads = kThreads,
                        .shared_bytes = sizeof(Shared),
                        .stream = stream};
  return params.pages.type == Type::kF8E4M3 ? launch(mla_decode<true>, where, params)
                                            : launch(mla_decode<false>, where, params);
}

int load_mla_decode_any() { return load(mla_decode<false>, mla_decode<true>); }

}  // namespace dsv3::kernels
