// Ragged causal attention of a span's rows over one chunk of expanded keys:
//   s[t, j] = scale (q_nope . k_nope_j + q_rope . kr_j), j up to t's position,
//   sums[t, :] = sum over j of 2^(s / ln 2 - max) v_j, out = sums / total      (spec §2.2)
// on tensor cores, for BF16 with dn + dr <= 192 and dv <= 128 in steps of 8 (narrower heads are
// padded with zeros). Other shapes and F32: mla_prefill_plain_any.cu.
//
// Who: grid (head, 64 rows, longest first), 4 warps of 16 rows. Keys come in pages from absolute
// position 0; a row's maximum, total and sums live in registers and, between chunks, in FP32
// memory: chunks, neighbours and row counts change no bit. cp.async brings a page's values while
// its scores are made, and the next page's keys while values are summed. A warp skips pages past
// its rows.
// Probabilities are rounded to BF16 for PV, their total is the sum of the rounded ones (spec §4.1;
// see mla_decode_any.cu). Keys past a row's position have p = 0; values of keys that some row may
// not see are finite (mla_gather), those past the chunk are zeros.
//
// Shared memory 67 KiB. Bytes: a page costs a block 42 KB from L2, for 64 * 64 * (192 + 128) * 2 =
// 2.6 MFLOP. Bound: the rate of mma.sync, by estimate 60 % of the tensor peak of Hopper. Not yet
// run on hardware.
#include "kernels/common/async_copy.h"
#include "kernels/common/device_code.h"
#include "kernels/common/matrix_load.h"
#include "kernels/common/mma.h"
#include "kernels/common/numeric.h"
#include "kernels/common/warp.h"
#include "kernels/load_all.h"
#include "kernels/mla_prefill.h"
#include "kernels/softmax_fold.h"

namespace dsv3::kernels {
namespace {

constexpr uint32_t kRows = 64;
constexpr uint32_t kKeyDim = 192;
constexpr uint32_t kValueDim = 128;
constexpr uint32_t kWarps = kRows / 16;
constexpr uint32_t kThreads = 32 * kWarps;

// Rows begin 16 bytes further on than a multiple of 128: fetching 8 of them meets all banks once.
struct Shared {
  uint16_t query[kRows][kKeyDim + 8];
  uint16_t keys[kPageTokens][kKeyDim + 8];
  uint16_t values[kPageTokens][kValueDim + 8];
};
static_assert(sizeof(Shared) <= 99 * 1024, "the smallest GPUs give a block 99 KiB");

// What a lane holds of its warp's 16 rows: [0] is row lane / 4, [1] eight below it.
struct Rows {
  float top[2];
  float total[2];
  float sums[kValueDim / 8][4];
};

struct Place {
  uint32_t head = 0;
  uint32_t row_begin = 0;  // of the block, in the span
  uint32_t position = 0;   // of row lane / 4 of this warp
  uint32_t index = 0;      // of that row in the span
};

__device__ const uint16_t* bf16_at(const ConstMatrix& matrix, uint64_t row, uint64_t col) {
  return static_cast<const uint16_t*>(matrix.data) + row * matrix.stride + col;
}

__device__ void load_query(const MlaPrefillParams& params, const Place& place, Shared& shared) {
  constexpr uint32_t kPieces = kKeyDim / 8;
  const uint32_t width = params.dims.nope_dim + params.dims.rope_dim;
  for (uint32_t i = threadIdx.x; i < kRows * kPieces; i += kThreads) {
    const uint32_t row = i / kPieces;
    const uint32_t piece = i % kPieces * 8;
    const bool is_real = place.row_begin + row < params.q.rows && piece < width;
    const uint16_t* from =
        is_real ? bf16_at(params.q, place.row_begin + row, uint64_t{place.head} * width + piece)
                : bf16_at(params.q, 0, 0);
    async_copy16(&shared.query[row][piece], from, is_real);
  }
}

// The page's keys: nope parts of this head, rope parts shared by all.
__device__ void load_keys(const MlaPrefillParams& params, uint32_t head, uint32_t begin,
                          Shared& shared) {
  constexpr uint32_t kPieces = kKeyDim / 8;
  const MlaDims& dims = params.dims;
  for (uint32_t i = threadIdx.x; i < kPageTokens * kPieces; i += kThreads) {
    const uint32_t key = i / kPieces;
    const uint32_t piece = i % kPieces * 8;
    const bool is_real = begin + key < params.latents.rows && piece < dims.nope_dim + dims.rope_dim;
    const uint32_t row = is_real ? begin + key : 0;
    const uint16_t* from = piece < dims.nope_dim
                               ? bf16_at(params.expanded, row,
                                         uint64_t{head} * (dims.nope_dim + dims.value_dim) + piece)
                               : bf16_at(params.latents, row,
                                         dims.latent_rank + (is_real ? piece - dims.nope_dim : 0));
    async_copy16(&shared.keys[key][piece], from, is_real);
  }
  async_commit();
}

__device__ void load_values(const MlaPrefillParams& params, uint32_t head, uint32_t begin,
                            Shared& shared) {
  constexpr uint32_t kPieces = kValueDim / 8;
  const MlaDims& dims = params.dims;
  for (uint32_t i = threadIdx.x; i < kPageTokens * kPieces; i += kThreads) {
    const uint32_t key = i / kPieces;
    const uint32_t piece = i % kPieces * 8;
    const bool is_real = begin + key < params.expanded.rows && piece < dims.value_dim;
    const uint64_t column = uint64_t{head} * (dims.nope_dim + dims.value_dim) + dims.nope_dim;
    const uint16_t* from =
        bf16_at(params.expanded, is_real ? begin + key : 0, column + (is_real ? piece : 0));
    async_copy16(&shared.values[key][piece], from, is_real);
  }
  async_commit();
}

__device__ void load_states(const MlaPrefillParams& params, const Place& place, Rows& rows) {
  const MlaDims& dims = params.dims;
#pragma unroll
  for (uint32_t i = 0; i < 2; ++i) {
    const uint32_t index = place.index + 8 * i;
    const bool is_carried = params.key_begin != 0 && index < params.q.rows;
    const float* state =
        params.states +
        (uint64_t{is_carried ? index : 0} * dims.heads + place.head) * params.state_stride;
    rows.top[i] = is_carried ? state[dims.value_dim] : minus_infinity();
    rows.total[i] = is_carried ? state[dims.value_dim + 1] : 0.0f;
#pragma unroll
    for (uint32_t n = 0; n < kValueDim / 8; ++n) {
      const uint32_t column = n * 8 + lane_index() % 4 * 2;
      const bool is_real = is_carried && column < dims.value_dim;
      rows.sums[n][2 * i] = is_real ? state[column] : 0.0f;
      rows.sums[n][2 * i + 1] = is_real ? state[column + 1] : 0.0f;
    }
  }
}

// scores [16 rows x 64 keys] of this warp.
__device__ void multiply_keys(const Shared& shared, float (&scores)[kPageTokens / 8][4]) {
  const uint32_t lane = lane_index();
  for (auto& score : scores) {
    for (float& value : score) value = 0.0f;
  }
#pragma unroll 4
  for (uint32_t column = 0; column < kKeyDim; column += 16) {
    uint32_t a[4];
    load_matrices(a, &shared.query[warp_index() * 16 + lane % 16][column + lane / 16 * 8]);
#pragma unroll
    for (uint32_t n = 0; n < kPageTokens / 8; n += 2) {
      uint32_t b[4];
      load_matrices(b, &shared.keys[n * 8 + lane / 16 * 8 + lane % 8][column + lane / 8 % 2 * 8]);
      const uint32_t first[2] = {b[0], b[1]};
      const uint32_t second[2] = {b[2], b[3]};
      mma_bf16(scores[n], a, first);
      mma_bf16(scores[n + 1], a, second);
    }
  }
}

__device__ float quad_max(float value) {
  for (int distance = 2; distance > 0; distance /= 2) {
    const float other = __shfl_xor_sync(kAllLanes, value, distance);
    value = other > value ? other : value;
  }
  return value;
}

__device__ float quad_sum(float value) {
  for (int distance = 2; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(kAllLanes, value, distance);
  }
  return value;
}

// Masks and folds the page's scores; `probabilities` are pairs of BF16 as mma wants them.
__device__ void soften(const MlaPrefillParams& params, const Place& place, uint32_t page_position,
                       float (&scores)[kPageTokens / 8][4],
                       uint32_t (&probabilities)[kPageTokens / 8][2], Rows& rows) {
  const float scale = params.scale * kLog2E;
#pragma unroll
  for (uint32_t i = 0; i < 2; ++i) {
    const uint32_t position = place.position + 8 * i;
    float page_top = minus_infinity();
#pragma unroll
    for (uint32_t n = 0; n < kPageTokens / 8; ++n) {
      const uint32_t key = page_position + n * 8 + lane_index() % 4 * 2;
      for (uint32_t c = 0; c < 2; ++c) {
        float& score = scores[n][2 * i + c];
        score = key + c <= position ? score * scale : minus_infinity();
        page_top = score > page_top ? score : page_top;
      }
    }
    page_top = quad_max(page_top);
    const float top = page_top > rows.top[i] ? page_top : rows.top[i];
    const float factor = exp2_below(rows.top[i], top);
    float own = 0.0f;
#pragma unroll
    for (uint32_t n = 0; n < kPageTokens / 8; ++n) {
      const uint16_t low = bf16_from_float(exp2_below(scores[n][2 * i], top));
      const uint16_t high = bf16_from_float(exp2_below(scores[n][2 * i + 1], top));
      own += bf16_to_float(low) + bf16_to_float(high);
      probabilities[n][i] = low | static_cast<uint32_t>(high) << 16;
    }
    rows.total[i] = fmaf(rows.total[i], factor, quad_sum(own));
    rows.top[i] = top;
#pragma unroll
    for (uint32_t n = 0; n < kValueDim / 8; ++n) {
      rows.sums[n][2 * i] *= factor;
      rows.sums[n][2 * i + 1] *= factor;
    }
  }
}

__device__ void multiply_values(const Shared& shared,
                                const uint32_t (&probabilities)[kPageTokens / 8][2], Rows& rows) {
  const uint32_t lane = lane_index();
#pragma unroll
  for (uint32_t step = 0; step < kPageTokens / 16; ++step) {
    const uint32_t a[4] = {probabilities[2 * step][0], probabilities[2 * step][1],
                           probabilities[2 * step + 1][0], probabilities[2 * step + 1][1]};
#pragma unroll
    for (uint32_t n = 0; n < kValueDim / 8; n += 2) {
      uint32_t b[4];
      load_matrices_transposed(b, &shared.values[step * 16 + lane % 16][n * 8 + lane / 16 * 8]);
      const uint32_t first[2] = {b[0], b[1]};
      const uint32_t second[2] = {b[2], b[3]};
      mma_bf16(rows.sums[n], a, first);
      mma_bf16(rows.sums[n + 1], a, second);
    }
  }
}

// Rows whose last key was in the chunk are done, later ones carry their state on.
__device__ void store_rows(const MlaPrefillParams& params, const Place& place, const Rows& rows) {
  const MlaDims& dims = params.dims;
#pragma unroll
  for (uint32_t i = 0; i < 2; ++i) {
    const uint32_t index = place.index + 8 * i;
    const uint32_t position = place.position + 8 * i;
    if (index >= params.q.rows || position < params.key_begin) continue;
    const bool is_done = position < params.key_begin + params.latents.rows;
    float* state =
        params.states + (uint64_t{index} * dims.heads + place.head) * params.state_stride;
    const uint64_t out = index * params.out.stride + uint64_t{place.head} * dims.value_dim;
    const float factor = 1.0f / rows.total[i];
#pragma unroll
    for (uint32_t n = 0; n < kValueDim / 8; ++n) {
      for (uint32_t c = 0; c < 2; ++c) {
        const uint32_t column = n * 8 + lane_index() % 4 * 2 + c;
        if (column >= dims.value_dim) continue;
        const float sum = rows.sums[n][2 * i + c];
        if (is_done) {
          store_float(params.out.data, params.out.type, out + column, sum * factor);
        } else {
          state[column] = sum;
        }
      }
    }
    if (is_done || lane_index() % 4 != 0) continue;
    state[dims.value_dim] = rows.top[i];
    state[dims.value_dim + 1] = rows.total[i];
  }
}

__global__ void __launch_bounds__(kThreads, 2) mla_prefill(MlaPrefillParams params) {
  auto& shared = shared_memory<Shared>();
  Place place;
  place.head = blockIdx.x;
  place.row_begin = (gridDim.y - 1 - blockIdx.y) * kRows;
  place.index = place.row_begin + warp_index() * 16 + lane_index() / 4;
  place.position = params.position_begin + place.index;
  const uint32_t rows_end = min(place.row_begin + kRows, params.q.rows);
  const uint32_t positions_end = params.position_begin + rows_end;
  if (positions_end <= params.key_begin) return;  // all of them were done with an earlier chunk
  const uint32_t keys = min(params.latents.rows, positions_end - params.key_begin);
  const uint32_t warp_end = place.position - lane_index() / 4 + 16;  // past the warp's last row

  load_query(params, place, shared);
  load_keys(params, place.head, 0, shared);
  Rows rows;
  load_states(params, place, rows);
  for (uint32_t begin = 0; begin < keys; begin += kPageTokens) {
    const bool is_seen = params.key_begin + begin < warp_end;
    float scores[kPageTokens / 8][4];
    uint32_t probabilities[kPageTokens / 8][2];
    async_wait<0>();
    __syncthreads();
    load_values(params, place.head, begin, shared);
    if (is_seen) {
      multiply_keys(shared, scores);
      soften(params, place, params.key_begin + begin, scores, probabilities, rows);
    }
    async_wait<0>();
    __syncthreads();
    if (begin + kPageTokens < keys) {
      load_keys(params, place.head, begin + kPageTokens, shared);
    }
    if (is_seen) multiply_values(shared, probabilities, rows);
  }
  store_rows(params, place, rows);
}

bool is_aligned(const ConstMatrix& matrix) {
  return reinterpret_cast<uintptr_t>(matrix.data) % 16 == 0 && matrix.stride % 8 == 0;
}

// Depends on shapes and layouts alone.
bool fits_tensor_cores(const MlaPrefillParams& params) {
  const MlaDims& dims = params.dims;
  return params.q.type == Type::kBF16 && dims.nope_dim % 8 == 0 && dims.rope_dim % 8 == 0 &&
         dims.rope_dim > 0 && dims.value_dim % 8 == 0 && dims.latent_rank % 8 == 0 &&
         dims.nope_dim + dims.rope_dim <= kKeyDim && dims.value_dim <= kValueDim &&
         is_aligned(params.q) && is_aligned(params.latents) && is_aligned(params.expanded);
}

}  // namespace

int launch_mla_prefill_any(const MlaPrefillParams& params, gpu::Stream* stream) {
  if (!fits_tensor_cores(params)) return launch_mla_prefill_plain_any(params, stream);
  return launch(mla_prefill,
                {.blocks = {params.dims.heads, (params.q.rows + kRows - 1) / kRows, 1},
                 .threads = kThreads,
                 .shared_bytes = sizeof(Shared),
                 .stream = stream},
                params);
}

int load_mla_prefill_any() { return load(mla_prefill); }

}  // namespace dsv3::kernels
