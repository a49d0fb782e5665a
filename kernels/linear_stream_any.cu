// linear, few rows  y[r, o] = sum over blocks b of 128 columns of scale[o, b] * (x[r] . w[o])_b
//   x [<= 8 rows a job, in], w [out, in], in the order of kernels/linear.h.
//   Who does what: a block takes 16 weight rows (8 of gate and 8 of up) and up to 8 rows of x as
//   the m16 and n8 of an mma, so that nothing is wasted on absent rows; each of its 8 warps sums
//   one run of K from a ring of its own in shared memory, filled by cp.async some blocks ahead;
//   then the runs are added in order. Grid: (out / 16, jobs). Without jobs the rows of x are cut by
//   eights. Bytes: every weight once per 8 rows, x once per block of weights (from L2). Bound:
//   memory. Registers and shared memory let one block run per 96 KiB: 40 KiB and more in flight
//   each. Not yet run on hardware.
#include "kernels/common/device_code.h"
#include "kernels/common/warp.h"
#include "kernels/linear_job.h"
#include "kernels/linear_plain.h"
#include "kernels/linear_tile.h"
#include "kernels/load_all.h"

namespace dsv3::kernels {
namespace {

constexpr LinearTileShape kShape = linear_tile_shape(LinearTile::kStream);
constexpr uint32_t kWarps = kLinearRuns;
constexpr uint32_t kThreads = kWarps * 32;
constexpr uint32_t kRingBytes = 12 * 1024;  // of a warp

struct StreamShared {
  uint8_t rings[kWarps][kRingBytes];
  TileRows<kShape.rows> rows;
};
static_assert(sizeof(StreamShared) <= 99 * 1024, "the smallest GPUs give a block 99 KiB");

template <Product kProduct>
struct Ring {
  static constexpr uint32_t kWeightBytes = kShape.outs * kBlock * ProductBytes<kProduct>::kWeight;
  static constexpr uint32_t kXBytes = kShape.rows * kBlock * ProductBytes<kProduct>::kX;
  static constexpr uint32_t kStages = kRingBytes / (kWeightBytes + kXBytes);
  static_assert(kStages >= 2, "one block of columns is copied while another is multiplied");

  static __device__ __forceinline__ uint8_t* stage(uint8_t* ring, uint32_t index) {
    return ring + index % kStages * (kWeightBytes + kXBytes);
  }
};

// One warp's copies of one block of columns, closed as a group even if past the run's end.
template <Product kProduct>
__device__ __forceinline__ void fetch(const TileWeights& weights, const TileRows<kShape.rows>& rows,
                                      uint8_t* stage, uint32_t block, uint32_t cols) {
  const auto weight_row = [&](uint32_t row) { return weights.row_at(row); };
  const auto x_row = [&](uint32_t row) { return rows.x[row]; };
  copy_block<ProductBytes<kProduct>::kWeight, kShape.outs, 32>(stage, weight_row, block * kBlock,
                                                               cols, lane_index());
  copy_block<ProductBytes<kProduct>::kX, kShape.rows, 32>(
      stage + Ring<kProduct>::kWeightBytes, x_row, block * kBlock, cols, lane_index());
}

// The scales of one block of columns, for this lane's part of the fragment.
template <Product kProduct>
__device__ __forceinline__ void promote_block(const ScaleRows& scales,
                                              const TileRows<kShape.rows>& rows, uint32_t block,
                                              const float (&partial)[4], float (&sum)[4]) {
  float low = 1.0f;
  float high = 1.0f;
  float x_scales[2] = {1.0f, 1.0f};
  if constexpr (kProduct != Product::kBf16) {
    low = scales.low[block];
    high = scales.high[block];
  }
  if constexpr (kProduct == Product::kCodes) {
    for (uint32_t i = 0; i < 2; ++i) {
      const float* row = rows.scales[lane_index() % 4 * 2 + i];
      if (row != nullptr) x_scales[i] = row[block];
    }
  }
  promote<kProduct>(sum, partial, low, high, x_scales);
}

// The warp's run of K for all 16 x 8 results.
template <Product kProduct>
__device__ __forceinline__ WarpSums<1, 1> sum_run(const LinearParams& params, const LinearJob& job,
                                                  const TileWeights& weights,
                                                  const TileRows<kShape.rows>& rows,
                                                  uint8_t* ring) {
  using Stages = Ring<kProduct>;
  const uint32_t cols = params.x.cols;
  const uint32_t blocks = column_blocks(cols);
  const uint32_t run = run_blocks(blocks);
  const uint32_t begin = warp_index() * run;
  const uint32_t end = begin + run < blocks ? begin + run : blocks;
  ScaleRows scales = {};
  if constexpr (kProduct != Product::kBf16) scales = scale_rows(job, weights, 0);

  for (uint32_t ahead = 0; ahead < Stages::kStages - 1; ++ahead) {
    if (begin + ahead < end) {
      fetch<kProduct>(weights, rows, Stages::stage(ring, ahead), begin + ahead, cols);
    }
    async_commit();
  }
  WarpSums<1, 1> sum;
  sum.clear();
  NanRows<1> nans;
  for (uint32_t block = begin; block < end; ++block) {
    async_wait<Stages::kStages - 2>();
    __syncwarp();  // copied for all lanes, and the stage before this one is free
    const uint32_t next = block + Stages::kStages - 1;
    if (next < end) {
      fetch<kProduct>(weights, rows, Stages::stage(ring, next - begin), next, cols);
    }
    async_commit();
    uint8_t* stage = Stages::stage(ring, block - begin);
    uint8_t* x = stage + Stages::kWeightBytes;
    if (kProduct != Product::kCodes && block + 1 == blocks && cols % 8 != 0) {
      clear_past<kShape.rows, 32>(x, cols, lane_index());
      __syncwarp();
    }
    WarpSums<1, 1> partial;
    partial.clear();
    if constexpr (kProduct == Product::kCodes) {
      multiply_codes(stage, 0, x, 0, partial);
    } else {
      multiply_block<kProduct>(stage, 0, x, 0, partial, nans);
    }
    promote_block<kProduct>(scales, rows, block, partial.at[0][0], sum.at[0][0]);
  }
  async_wait<0>();
  __syncwarp();
  if constexpr (kProduct == Product::kF8) apply_nans(nans, sum);
  return sum;
}

template <Product kProduct>
__device__ void stream_tile(const LinearParams& params, const LinearJob& job) {
  StreamShared& shared = shared_memory<StreamShared>();
  find_rows<kProduct, kShape.rows>(params, job, shared.rows);
  __syncthreads();
  const TileWeights weights = tile_weights<kProduct>(params, job, kShape.outs);
  uint8_t* ring = shared.rings[warp_index()];
  const WarpSums<1, 1> sum = sum_run<kProduct>(params, job, weights, shared.rows, ring);

  // The ring now holds the warp's sums, [8 rows][16 weight rows].
  auto* sums = reinterpret_cast<float*>(ring);
  const uint32_t out = lane_index() / 4;
  const uint32_t row = lane_index() % 4 * 2;
  for (uint32_t i = 0; i < 4; ++i) {
    sums[(row + i % 2) * kShape.outs + out + i / 2 * 8] = sum.at[0][0][i];
  }
  __syncthreads();
  const uint32_t outs = job.is_pair ? kShape.outs / 2 : kShape.outs;
  const uint32_t column = threadIdx.x % outs;
  const uint32_t index = threadIdx.x / outs;
  if (index >= job.count || weights.first + column >= params.y.cols) return;
  float totals[2] = {0.0f, 0.0f};
  for (uint32_t run = 0; run < kLinearRuns; ++run) {
    const auto* part = reinterpret_cast<const float*>(shared.rings[run]) + index * kShape.outs;
    totals[0] += part[column];
    if (job.is_pair) totals[1] += part[column + 8];
  }
  store_result(params, job.is_pair, shared.rows.y[index], weights.first + column, totals[0],
               totals[1]);
}

__global__ void __launch_bounds__(kThreads) linear_stream_kernel(LinearParams params) {
  LinearJob job;
  if (!find_job(params, kShape.rows, job)) return;
  switch (product_of(params, job)) {
    case Product::kBf16:
      return stream_tile<Product::kBf16>(params, job);
    case Product::kF8:
      return stream_tile<Product::kF8>(params, job);
    case Product::kCodes:
      return stream_tile<Product::kCodes>(params, job);
    case Product::kPlain:
      return plain_tile(params, job, kShape.outs);
  }
}

}  // namespace

int launch_linear_stream_any(const LinearParams& params, gpu::Stream* stream) {
  const Launch where{.blocks = linear_grid(params, LinearTile::kStream),
                     .threads = kThreads,
                     .shared_bytes = sizeof(StreamShared),
                     .stream = stream};
  return launch(linear_stream_kernel, where, params);
}

int load_linear_stream_any() { return load(linear_stream_kernel); }

}  // namespace dsv3::kernels
