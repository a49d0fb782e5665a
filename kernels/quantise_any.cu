// quantise  per row and 128 columns: a = max(max|x|, 1e-4), s = a / 448, codes = e4m3(x / s)  [T,
// C]
//           Who does what: a warp per 128 columns of a row, eight warps a block; a lane has four
//           neighbouring columns. Bytes: 2 (F32: 4) read and 1 written an element; bound: memory.
//           Not yet run on hardware.
#include "kernels/common/device_code.h"
#include "kernels/common/numeric.h"
#include "kernels/common/warp.h"
#include "kernels/load_all.h"
#include "kernels/quantise.h"

namespace dsv3::kernels {
namespace {

constexpr uint32_t kWarps = 8;

__global__ void __launch_bounds__(kWarps * 32) quantise_kernel(QuantiseParams params) {
  const auto blocks = static_cast<uint32_t>(params.codes.stride / kBlock);
  const uint64_t task = static_cast<uint64_t>(blockIdx.x) * kWarps + warp_index();
  const uint64_t row = task / blocks;
  if (row >= params.x.rows) return;  // the whole warp
  const auto block = static_cast<uint32_t>(task % blocks);
  const uint32_t col = block * kBlock + lane_index() * 4;

  float values[4];
  float largest = 0.0f;
  for (uint32_t i = 0; i < 4; ++i) {
    const bool is_inside = col + i < params.x.cols;
    values[i] = is_inside
                    ? load_float(params.x.data, params.x.type, row * params.x.stride + col + i)
                    : 0.0f;
    largest = fmaxf(largest, fabsf(values[i]));
  }
  for (int distance = 16; distance > 0; distance /= 2) {
    largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, distance));
  }
  const float scale = fmaxf(largest, 1e-4f) / 448.0f;
  uint32_t codes = 0;
  for (uint32_t i = 0; i < 4; ++i) {
    codes |= static_cast<uint32_t>(e4m3_from_float(values[i] / scale)) << (8 * i);
  }
  uint8_t* out = params.codes.codes + row * params.codes.stride + col;
  *reinterpret_cast<uint32_t*>(out) = codes;
  if (lane_index() == 0) params.codes.scales[row * params.codes.scale_stride + block] = scale;
}

}  // namespace

int launch_quantise_any(const QuantiseParams& params, gpu::Stream* stream) {
  const uint64_t tasks = params.x.rows * (params.codes.stride / kBlock);
  if (tasks == 0) return 0;
  const Launch where{.blocks = {static_cast<uint32_t>((tasks + kWarps - 1) / kWarps), 1, 1},
                     .threads = kWarps * 32,
                     .shared_bytes = 0,
                     .stream = stream};
  return launch(quantise_kernel, where, params);
}

int load_quantise_any() { return load(quantise_kernel); }

}  // namespace dsv3::kernels
