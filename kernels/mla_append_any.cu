// q[t, h, dn:] = RoPE(q[t, h, dn:]) in place; page(t) = [RMSNorm(z[t, :Rkv]) ; RoPE(z[t, Rkv:])]
// (spec §2.2, §2.3). F8E4M3 pages: the latent, rounded to BF16, is quantised by 128 with scales
// 2^ceil(log2(max(amax, 1e-4) / 448)), powers made of bits (spec §4.4).
//
// Who: grid (rows, groups of 16 heads + 1), 128 threads. A block of y < groups rotates its heads,
// a pair of elements a thread; the last one norms, rotates and stores the row of the cache, with
// sums in one fixed order. Angles are FP32 products, cosines and sines FP32.
// Bytes a row: 2 * N*dr read and written, Rkv+dr read and written; with V3's shapes in BF16 35 KB.
// Bound: launch latency for few rows, memory for many. Not yet run on hardware.
#include "kernels/common/device_code.h"
#include "kernels/common/numeric.h"
#include "kernels/common/warp.h"
#include "kernels/latent_pages.h"
#include "kernels/load_all.h"
#include "kernels/mla_append.h"

namespace dsv3::kernels {
namespace {

constexpr uint32_t kThreads = 128;
constexpr uint32_t kHeads = 16;  // of one block

struct Turn {
  float cosine;
  float sine;
};

__device__ Turn turn_of(const MlaAppendParams& params, uint32_t position, uint32_t pair) {
  const float angle = static_cast<float>(position) * params.inv_freq[pair];
  return {cosf(angle) * params.magnitude, sinf(angle) * params.magnitude};
}

__device__ void rotate_heads(const MlaAppendParams& params, uint32_t row, uint32_t position) {
  const uint32_t pairs = params.dims.rope_dim / 2;
  const uint32_t head_width = params.dims.nope_dim + params.dims.rope_dim;
  const uint32_t first = blockIdx.y * kHeads;
  const uint32_t heads = min(kHeads, params.dims.heads - first);
  for (uint32_t i = threadIdx.x; i < heads * pairs; i += kThreads) {
    const uint32_t pair = i % pairs;
    const Turn turn = turn_of(params, position, pair);
    const uint64_t at = row * params.q.stride + uint64_t{first + i / pairs} * head_width +
                        params.dims.nope_dim + 2 * pair;
    const float even = load_float(params.q.data, params.q.type, at);
    const float odd = load_float(params.q.data, params.q.type, at + 1);
    store_float(params.q.data, params.q.type, at, even * turn.cosine - odd * turn.sine);
    store_float(params.q.data, params.q.type, at + 1, even * turn.sine + odd * turn.cosine);
  }
}

// 2^ceil(log2(amax / 448)).
__device__ float power_scale(float amax) {
  const float least = 1e-4f;
  const uint32_t bits = __float_as_uint((amax > least ? amax : least) / 448.0f);
  uint32_t exponent = (bits >> 23) + ((bits & 0x7fffffu) != 0 ? 1u : 0u);
  exponent = exponent < 1u ? 1u : (exponent > 254u ? 254u : exponent);
  return __uint_as_float(exponent << 23);
}

__device__ float rounded_bf16(float value) { return bf16_to_float(bf16_from_float(value)); }

// Normed latents, a value a call, FP32.
struct NormedLatent {
  const MlaAppendParams& params;
  uint64_t row_begin;
  float factor;
  __device__ float at(uint32_t index) const {
    const float x = load_float(params.z.data, params.z.type, row_begin + index);
    return load_float(params.norm.data, params.norm.type, index) * (x * factor);
  }
};

// A group of 128 latents a warp.
__device__ void store_quantised(const NormedLatent& normed, uint32_t rank, const CachedRow& to) {
  const uint32_t groups = (rank + kBlock - 1) / kBlock;
  for (uint32_t group = warp_index(); group < groups; group += kThreads / 32) {
    float values[kBlock / 32];
    float amax = 0.0f;
    for (uint32_t i = 0; i < kBlock / 32; ++i) {
      const uint32_t index = group * kBlock + i * 32 + lane_index();
      values[i] = index < rank ? rounded_bf16(normed.at(index)) : 0.0f;
      amax = fabsf(values[i]) > amax ? fabsf(values[i]) : amax;
    }
    const float scale = power_scale(warp_max(amax));
    for (uint32_t i = 0; i < kBlock / 32; ++i) {
      const uint32_t index = group * kBlock + i * 32 + lane_index();
      if (index < rank) to.latent[index] = e4m3_from_float(values[i] / scale);
    }
    if (lane_index() == 0) to.scales[group] = scale;
  }
}

__device__ void append_row(const MlaAppendParams& params, uint32_t row, uint32_t position,
                           float* slots) {
  const uint32_t rank = params.dims.latent_rank;
  const uint64_t begin = row * params.z.stride;
  float squares = 0.0f;
  for (uint32_t i = threadIdx.x; i < rank; i += kThreads) {
    const float x = load_float(params.z.data, params.z.type, begin + i);
    squares = fmaf(x, x, squares);
  }
  const float mean = block_sum(squares, slots) / static_cast<float>(rank);
  const NormedLatent normed{params, begin, 1.0f / sqrtf(mean + params.eps)};
  const Span& span = params.spans[params.row_spans[row]];
  const CachedRow to = cached_row(params.pages, rank, span.pages, position);
  if (params.pages.type == Type::kF8E4M3) {
    store_quantised(normed, rank, to);
  } else {
    for (uint32_t i = threadIdx.x; i < rank; i += kThreads) {
      store_float(to.latent, params.pages.type, i, normed.at(i));
    }
  }
  for (uint32_t pair = threadIdx.x; pair < params.dims.rope_dim / 2; pair += kThreads) {
    const Turn turn = turn_of(params, position, pair);
    const float even = load_float(params.z.data, params.z.type, begin + rank + 2 * pair);
    const float odd = load_float(params.z.data, params.z.type, begin + rank + 2 * pair + 1);
    const Type type = rope_type(params.pages);
    store_float(to.rope, type, 2 * pair, even * turn.cosine - odd * turn.sine);
    store_float(to.rope, type, 2 * pair + 1, even * turn.sine + odd * turn.cosine);
  }
}

__global__ void __launch_bounds__(kThreads) mla_append(MlaAppendParams params) {
  const uint32_t row = blockIdx.x;
  const uint32_t position = params.positions[row];
  if (blockIdx.y + 1 < gridDim.y) {
    rotate_heads(params, row, position);
  } else {
    append_row(params, row, position, &shared_memory<float>());
  }
}

}  // namespace

int launch_mla_append_any(const MlaAppendParams& params, gpu::Stream* stream) {
  const uint32_t groups = (params.dims.heads + kHeads - 1) / kHeads;
  return launch(mla_append,
                {.blocks = {params.q.rows, groups + 1, 1},
                 .threads = kThreads,
                 .shared_bytes = kThreads / 32 * sizeof(float),
                 .stream = stream},
                params);
}

int load_mla_append_any() { return load(mla_append); }

}  // namespace dsv3::kernels
