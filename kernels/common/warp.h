// Reductions over a warp and a block, in one fixed order.
#pragma once

#include "kernels/common/device_code.h"

namespace dsv3::kernels {

inline constexpr uint32_t kAllLanes = 0xffffffffu;

__device__ __forceinline__ uint32_t lane_index() { return threadIdx.x & 31u; }
__device__ __forceinline__ uint32_t warp_index() { return threadIdx.x >> 5; }

// Every lane gets the result.
template <typename T>
__device__ __forceinline__ T warp_sum(T value) {
  for (int distance = 16; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(kAllLanes, value, distance);
  }
  return value;
}

template <typename T>
__device__ __forceinline__ T warp_max(T value) {
  for (int distance = 16; distance > 0; distance /= 2) {
    const T other = __shfl_xor_sync(kAllLanes, value, distance);
    value = other > value ? other : value;
  }
  return value;
}

// The block's sum for every thread. `slots`: one T per warp in shared memory, free to be used again
// after the call. Called by all threads of the block.
template <typename T>
__device__ __forceinline__ T block_sum(T value, T* slots) {
  const uint32_t warps = (blockDim.x + 31) / 32;
  value = warp_sum(value);
  if (lane_index() == 0) slots[warp_index()] = value;
  __syncthreads();
  T total = slots[0];
  for (uint32_t w = 1; w < warps; ++w) total += slots[w];
  __syncthreads();
  return total;
}

template <typename T>
__device__ __forceinline__ T block_max(T value, T* slots) {
  const uint32_t warps = (blockDim.x + 31) / 32;
  value = warp_max(value);
  if (lane_index() == 0) slots[warp_index()] = value;
  __syncthreads();
  T top = slots[0];
  for (uint32_t w = 1; w < warps; ++w) top = slots[w] > top ? slots[w] : top;
  __syncthreads();
  return top;
}

}  // namespace dsv3::kernels
