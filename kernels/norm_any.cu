// norm  s = x + h;  sum = act(s);  out = act(weight * (s * 1/sqrt(mean(s^2) + eps)));  codes =
// 1x128
//       of out (spec §4.1, §4.4).  x, h, sum, out [T, C], weight [C].
// Who does what: a block per row. A thread owns groups of eight neighbouring columns: group
// threadIdx.x, then every blockDim.x-th. Its squares are added in ascending order, then the warp's
// by halving distance, then the warps' in order; blockDim.x follows from C alone, so the bits do
// too. s waits in shared memory (4 C bytes) for the second half. Sixteen neighbouring threads hold
// the 128 columns of one scale. Bytes: 2 reads and 2 writes of the row (1 and 1 without h), codes C
// more. Operations: a dozen an element. Expected bound: memory; at one row the latency of two
// passes and two barriers. Not yet run on hardware.
#include "kernels/common/device_code.h"
#include "kernels/common/eight.h"
#include "kernels/common/numeric.h"
#include "kernels/common/warp.h"
#include "kernels/load_all.h"
#include "kernels/norm.h"

namespace dsv3::kernels {
namespace {

constexpr uint32_t kThreadsMax = 512;
constexpr uint32_t kSlots = 32;  // floats of shared memory before the row

__device__ __forceinline__ uint32_t left_from(uint32_t col, uint32_t cols) {
  return col < cols ? cols - col : 0;
}

// Keeps s of this thread's columns in `sums`, writes the carried sum; the thread's sum of squares.
__device__ float add_row(const NormParams& params, uint32_t row, float* sums) {
  const uint32_t cols = params.weight.cols;
  float squares = 0.0f;
  for (uint32_t group = threadIdx.x; group < groups_of_eight(cols); group += blockDim.x) {
    const uint32_t col = group * 8;
    const uint32_t count = cols - col;
    Eight s = load_eight(params.x.data, params.x.type, row * params.x.stride + col, count);
    if (params.h.data != nullptr) {
      const Eight h = load_eight(params.h.data, params.h.type, row * params.h.stride + col, count);
      for (uint32_t i = 0; i < 8; ++i) s.at[i] += h.at[i];
      store_eight(params.sum.data, params.sum.type, row * params.sum.stride + col, count, s);
    }
    for (uint32_t i = 0; i < 8; ++i) {
      squares += s.at[i] * s.at[i];
      sums[col + i] = s.at[i];
    }
  }
  return squares;
}

// As it will be read back.
__device__ __forceinline__ float rounded(float value, Type type) {
  return type == Type::kF32 ? value : bf16_to_float(bf16_from_float(value));
}

// Quantises eight columns of a row of out. All lanes of the warp call it; sixteen neighbours share
// a scale.
__device__ void store_codes(const Codes& codes, uint32_t row, uint32_t group, const Eight& values) {
  float largest = 0.0f;
  for (uint32_t i = 0; i < 8; ++i) largest = fmaxf(largest, fabsf(values.at[i]));
  for (int distance = 8; distance > 0; distance /= 2) {
    largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, distance));
  }
  if (group * 8 >= codes.stride) return;
  const float scale = fmaxf(largest, 1e-4f) / 448.0f;
  uint8_t* out = codes.codes + row * codes.stride + group * 8;
  for (uint32_t i = 0; i < 8; ++i) out[i] = e4m3_from_float(values.at[i] / scale);
  if (group % 16 == 0) codes.scales[row * codes.scale_stride + group / 16] = scale;
}

__global__ void __launch_bounds__(kThreadsMax) norm_kernel(NormParams params) {
  float* slots = &shared_memory<float>();
  float* sums = slots + kSlots;
  const uint32_t row = blockIdx.x;
  const uint32_t cols = params.weight.cols;
  const float squares = block_sum(add_row(params, row, sums), slots);
  const float factor = 1.0f / sqrtf(squares / static_cast<float>(cols) + params.eps);

  const bool quantise = params.codes.codes != nullptr;
  const uint32_t groups =
      quantise ? static_cast<uint32_t>(params.codes.stride / 8) : groups_of_eight(cols);
  // Every thread takes part in every round: lanes exchange their maxima.
  for (uint32_t begin = 0; begin < groups; begin += blockDim.x) {
    const uint32_t group = begin + threadIdx.x;
    const uint32_t col = group * 8;
    const uint32_t count = left_from(col, cols);
    Eight values = {};
    if (count != 0) {
      const Eight weight = load_eight(params.weight, 0, col, count);
      for (uint32_t i = 0; i < 8; ++i) {
        if (i < count) values.at[i] = weight.at[i] * (sums[col + i] * factor);
      }
      store_eight(params.out.data, params.out.type, row * params.out.stride + col, count, values);
    }
    if (quantise) {
      for (float& value : values.at) value = rounded(value, params.out.type);
      store_codes(params.codes, row, group, values);
    }
  }
}

}  // namespace

int launch_norm_any(const NormParams& params, gpu::Stream* stream) {
  const uint32_t groups = (params.weight.cols + 7) / 8;
  if (groups == 0) return 0;
  const uint32_t rounds = (groups + kThreadsMax - 1) / kThreadsMax;
  const uint32_t threads = ((groups + rounds - 1) / rounds + 31) / 32 * 32;
  const auto floats = static_cast<uint32_t>(kSlots + groups * 8);
  const Launch where{.blocks = {params.out.rows, 1, 1},
                     .threads = threads,
                     .shared_bytes = floats * static_cast<uint32_t>(sizeof(float)),
                     .stream = stream};
  return launch(norm_kernel, where, params);
}

int load_norm_any() { return load(norm_kernel); }

}  // namespace dsv3::kernels
