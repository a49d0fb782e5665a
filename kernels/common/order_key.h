// Floats as integers of the same order, so that a maximum with its index, or a digit of a rank, is
// integer work.
#pragma once

#include "kernels/common/device_code.h"
#include "kernels/common/warp.h"

namespace dsv3::kernels {

inline constexpr uint32_t kNoKey = 0;  // below the key of -infinity

// Larger float, larger key; both zeros have one key. Never kNoKey for what is not NaN.
__device__ __forceinline__ uint32_t order_key(float value) {
  const uint32_t bits = value == 0.0f ? 0u : __float_as_uint(value);
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

__device__ __forceinline__ float value_of_key(uint32_t key) {
  return __uint_as_float((key & 0x80000000u) != 0 ? key & 0x7fffffffu : ~key);
}

// A key with its index: the maximum is the largest key, the lowest index among equals.
__device__ __forceinline__ uint64_t ranked(uint32_t key, uint32_t index) {
  return static_cast<uint64_t>(key) << 32 | (0xffffffffu - index);
}
__device__ __forceinline__ uint32_t ranked_key(uint64_t rank) {
  return static_cast<uint32_t>(rank >> 32);
}
__device__ __forceinline__ uint32_t ranked_index(uint64_t rank) {
  return 0xffffffffu - static_cast<uint32_t>(rank);
}

// The GPU's 64-bit addition knows only unsigned long long.
__device__ __forceinline__ void atomic_add(uint64_t* counter, uint64_t value) {
  static_assert(sizeof(uint64_t) == sizeof(unsigned long long));
  atomicAdd(reinterpret_cast<unsigned long long*>(counter), static_cast<unsigned long long>(value));
}

}  // namespace dsv3::kernels
