// linear, many rows  y[r, o] = sum over blocks b of 128 columns of scale[o, b] * (x[r] . w[o])_b
//   x [T, in], w [out, in], in the order of kernels/linear.h.
//   Who does what: a block computes 128 x 64 (small: 64 x 32) results; blocks of columns of w and x
//   come through shared memory by cp.async, 2 to 4 of them in flight; each warp holds 32 x 32
//   (16 x 32) results three times: the sum of this block, of this run, and the total. A pair of
//   weights shares the tile, eight rows of each by turns. Grid: (out / 128, T / 64 or jobs).
//   Bytes: w once per 64 rows, x once per 128 weight rows (from L2). Operations: 2 T in out. Bound:
//   memory up to some hundred rows, then the tensor cores at what mma.sync and the fragments' way
//   through shared memory allow (a Hopper kernel with wgmma would have twice that).
//   Not yet run on hardware.
#include "kernels/common/device_code.h"
#include "kernels/common/warp.h"
#include "kernels/linear_job.h"
#include "kernels/linear_plain.h"
#include "kernels/linear_tile.h"
#include "kernels/load_all.h"

namespace dsv3::kernels {
namespace {

// kWarpOuts x kWarpRows warps of 16 kOuts x 8 kRows results each.
template <LinearTile kTile>
struct Shape;
template <>
struct Shape<LinearTile::kSmall> {
  static constexpr uint32_t kOuts = 1, kRows = 4, kWarpOuts = 4, kWarpRows = 1;
  static constexpr uint32_t kArenaBytes = 72 * 1024;
};
template <>
struct Shape<LinearTile::kLarge> {
  static constexpr uint32_t kOuts = 2, kRows = 4, kWarpOuts = 4, kWarpRows = 2;
  static constexpr uint32_t kArenaBytes = 96 * 1024;
};

template <LinearTile kTile>
struct Tile : Shape<kTile> {
  using S = Shape<kTile>;
  static constexpr uint32_t kTileOuts = 16 * S::kOuts * S::kWarpOuts;
  static constexpr uint32_t kTileRows = 8 * S::kRows * S::kWarpRows;
  static constexpr uint32_t kThreads = 32 * S::kWarpOuts * S::kWarpRows;
  static_assert(kTileOuts == linear_tile_shape(kTile).outs);
  static_assert(kTileRows == linear_tile_shape(kTile).rows);
  using Sums = WarpSums<S::kOuts, S::kRows>;
  // Finished sums, [row][weight row]; the padding keeps a fragment's columns in different banks.
  static constexpr uint32_t kSumStride = kTileOuts + 4;
  static_assert(kTileRows * kSumStride * sizeof(float) <= S::kArenaBytes);

  struct Shared {
    uint8_t arena[S::kArenaBytes];
    TileRows<kTileRows> rows;
  };
  static_assert(sizeof(Shared) <= 99 * 1024, "the smallest GPUs give a block 99 KiB");
};

template <LinearTile kTile, Product kProduct>
struct Stages {
  using T = Tile<kTile>;
  static constexpr uint32_t kWeightBytes = T::kTileOuts * kBlock * ProductBytes<kProduct>::kWeight;
  static constexpr uint32_t kXBytes = T::kTileRows * kBlock * ProductBytes<kProduct>::kX;
  static constexpr uint32_t kFitting = T::kArenaBytes / (kWeightBytes + kXBytes);
  static constexpr uint32_t kCount = kFitting < 4 ? kFitting : 4;
  static_assert(kCount >= 2, "one block of columns is copied while another is multiplied");

  static __device__ __forceinline__ uint8_t* at(uint8_t* arena, uint32_t index) {
    return arena + index % kCount * (kWeightBytes + kXBytes);
  }
};

// What a warp knows of its place in the tile.
struct WarpPlace {
  uint32_t out;  // first weight row
  uint32_t row;  // first row of x
};

template <LinearTile kTile, Product kProduct>
__device__ __forceinline__ void fetch(const TileWeights& weights,
                                      const TileRows<Tile<kTile>::kTileRows>& rows, uint8_t* stage,
                                      uint32_t block, uint32_t cols) {
  using T = Tile<kTile>;
  const auto weight_row = [&](uint32_t row) { return weights.row_at(row); };
  const auto x_row = [&](uint32_t row) { return rows.x[row]; };
  copy_block<ProductBytes<kProduct>::kWeight, T::kTileOuts, T::kThreads>(
      stage, weight_row, block * kBlock, cols, threadIdx.x);
  copy_block<ProductBytes<kProduct>::kX, T::kTileRows, T::kThreads>(
      stage + Stages<kTile, kProduct>::kWeightBytes, x_row, block * kBlock, cols, threadIdx.x);
}

// run += partial, with the scales of one block of columns.
template <LinearTile kTile, Product kProduct>
__device__ __forceinline__ void promote_block(const ScaleRows (&scales)[Tile<kTile>::kOuts],
                                              const TileRows<Tile<kTile>::kTileRows>& rows,
                                              const WarpPlace& place, uint32_t block,
                                              const typename Tile<kTile>::Sums& partial,
                                              typename Tile<kTile>::Sums& run) {
  using T = Tile<kTile>;
#pragma unroll
  for (uint32_t r = 0; r < T::kRows; ++r) {
    float x_scales[2] = {1.0f, 1.0f};
    if constexpr (kProduct == Product::kCodes) {
      for (uint32_t i = 0; i < 2; ++i) {
        const float* row = rows.scales[place.row + 8 * r + lane_index() % 4 * 2 + i];
        if (row != nullptr) x_scales[i] = row[block];
      }
    }
#pragma unroll
    for (uint32_t o = 0; o < T::kOuts; ++o) {
      float low = 1.0f;
      float high = 1.0f;
      if constexpr (kProduct != Product::kBf16) {
        low = scales[o].low[block];
        high = scales[o].high[block];
      }
      promote<kProduct>(run.at[o][r], partial.at[o][r], low, high, x_scales);
    }
  }
}

// All of K for the warp's results.
template <LinearTile kTile, Product kProduct>
__device__ __forceinline__ typename Tile<kTile>::Sums sum_all(const LinearParams& params,
                                                              const LinearJob& job,
                                                              const TileWeights& weights,
                                                              typename Tile<kTile>::Shared& shared,
                                                              const WarpPlace& place) {
  using T = Tile<kTile>;
  using S = Stages<kTile, kProduct>;
  const uint32_t cols = params.x.cols;
  const uint32_t blocks = column_blocks(cols);
  const uint32_t run_length = run_blocks(blocks);
  ScaleRows scales[T::kOuts] = {};
  if constexpr (kProduct != Product::kBf16) {
    for (uint32_t o = 0; o < T::kOuts; ++o)
      scales[o] = scale_rows(job, weights, place.out + 16 * o);
  }
  for (uint32_t ahead = 0; ahead < S::kCount - 1; ++ahead) {
    if (ahead < blocks) {
      fetch<kTile, kProduct>(weights, shared.rows, S::at(shared.arena, ahead), ahead, cols);
    }
    async_commit();
  }
  typename T::Sums run;
  typename T::Sums total;
  run.clear();
  total.clear();
  NanRows<T::kOuts> nans;
  uint32_t run_end = run_length;
  for (uint32_t block = 0; block < blocks; ++block) {
    async_wait<S::kCount - 2>();
    __syncthreads();  // copied for all threads, and the stage before this one is free
    const uint32_t next = block + S::kCount - 1;
    if (next < blocks) {
      fetch<kTile, kProduct>(weights, shared.rows, S::at(shared.arena, next), next, cols);
    }
    async_commit();
    uint8_t* stage = S::at(shared.arena, block);
    uint8_t* x = stage + S::kWeightBytes;
    if (kProduct != Product::kCodes && block + 1 == blocks && cols % 8 != 0) {
      clear_past<T::kTileRows, T::kThreads>(x, cols, threadIdx.x);
      __syncthreads();
    }
    typename T::Sums partial;
    partial.clear();
    if constexpr (kProduct == Product::kCodes) {
      multiply_codes(stage, place.out, x, place.row, partial);
    } else {
      multiply_block<kProduct>(stage, place.out, x, place.row, partial, nans);
    }
    promote_block<kTile, kProduct>(scales, shared.rows, place, block, partial, run);
    if (block + 1 == run_end || block + 1 == blocks) {
      total.add(run);
      run.clear();
      run_end += run_length;
    }
  }
  async_wait<0>();
  if constexpr (kProduct == Product::kF8) apply_nans(nans, total);
  return total;
}

template <LinearTile kTile, Product kProduct>
__device__ void multiply_tile(const LinearParams& params, const LinearJob& job) {
  using T = Tile<kTile>;
  auto& shared = shared_memory<typename T::Shared>();
  find_rows<kProduct, T::kTileRows>(params, job, shared.rows);
  __syncthreads();
  const TileWeights weights = tile_weights<kProduct>(params, job, T::kTileOuts);
  const WarpPlace place = {warp_index() % T::kWarpOuts * T::kOuts * 16,
                           warp_index() / T::kWarpOuts * T::kRows * 8};
  const typename T::Sums total = sum_all<kTile, kProduct>(params, job, weights, shared, place);

  __syncthreads();  // the arena now holds the sums
  auto* sums = reinterpret_cast<float*>(shared.arena);
  const uint32_t g = lane_index() / 4;
  const uint32_t q = lane_index() % 4;
  for (uint32_t o = 0; o < T::kOuts; ++o) {
    for (uint32_t r = 0; r < T::kRows; ++r) {
      for (uint32_t i = 0; i < 4; ++i) {
        const uint32_t row = place.row + 8 * r + 2 * q + i % 2;
        sums[row * T::kSumStride + place.out + 16 * o + g + i / 2 * 8] = total.at[o][r][i];
      }
    }
  }
  __syncthreads();
  const uint32_t outs = job.is_pair ? T::kTileOuts / 2 : T::kTileOuts;
  for (uint32_t i = threadIdx.x; i < outs * job.count; i += T::kThreads) {
    const uint32_t column = i % outs;
    const uint32_t row = i / outs;
    if (weights.first + column >= params.y.cols) continue;
    const float* mine = sums + row * T::kSumStride;
    const uint32_t gate = job.is_pair ? column / 8 * 16 + column % 8 : column;
    store_result(params, job.is_pair, shared.rows.y[row], weights.first + column, mine[gate],
                 job.is_pair ? mine[gate + 8] : 0.0f);
  }
}

template <LinearTile kTile>
__global__ void __launch_bounds__(Tile<kTile>::kThreads, 1)
    linear_tile_kernel(LinearParams params) {
  using T = Tile<kTile>;
  LinearJob job;
  if (!find_job(params, T::kTileRows, job)) return;
  switch (product_of(params, job)) {
    case Product::kBf16:
      return multiply_tile<kTile, Product::kBf16>(params, job);
    case Product::kF8:
      return multiply_tile<kTile, Product::kF8>(params, job);
    case Product::kCodes:
      return multiply_tile<kTile, Product::kCodes>(params, job);
    case Product::kPlain:
      return plain_tile(params, job, T::kTileOuts);
  }
}

template <LinearTile kTile>
int launch_tile(const LinearParams& params, gpu::Stream* stream) {
  const Launch where{.blocks = linear_grid(params, kTile),
                     .threads = Tile<kTile>::kThreads,
                     .shared_bytes = sizeof(typename Tile<kTile>::Shared),
                     .stream = stream};
  return launch(linear_tile_kernel<kTile>, where, params);
}

}  // namespace

int launch_linear_tiles_any(const LinearParams& params, LinearTile tile, gpu::Stream* stream) {
  return tile == LinearTile::kSmall ? launch_tile<LinearTile::kSmall>(params, stream)
                                    : launch_tile<LinearTile::kLarge>(params, stream);
}

int load_linear_tiles_any() {
  return load(linear_tile_kernel<LinearTile::kSmall>, linear_tile_kernel<LinearTile::kLarge>);
}

}  // namespace dsv3::kernels
