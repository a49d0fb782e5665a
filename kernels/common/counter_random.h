// Counter-based random numbers: a value is a pure function of (seed, position, stream). The same
// integers as src/base/random.h: a draw does not depend on the device.
#pragma once

#include "kernels/common/device_code.h"

namespace dsv3::kernels {

// splitmix64's finaliser.
__device__ __forceinline__ uint64_t mix64(uint64_t word) {
  word ^= word >> 30;
  word *= 0xbf58476d1ce4e5b9ull;
  word ^= word >> 27;
  word *= 0x94d049bb133111ebull;
  word ^= word >> 31;
  return word;
}

// 64 random bits for a token position of a request. `stream` separates uses at one position.
__device__ __forceinline__ uint64_t random_bits(uint64_t seed, uint64_t position,
                                                uint64_t stream = 0) {
  uint64_t state = mix64(seed + 0x9e3779b97f4a7c15ull);
  state = mix64(state ^ (position * 0xd1342543de82ef95ull + 0x9e3779b97f4a7c15ull));
  return mix64(state ^ (stream * 0xaf251af3b0f025b5ull + 0x2545f4914f6cdd1dull));
}

// Uniform in [0, 1): 53 bits.
__device__ __forceinline__ double random_unit(uint64_t seed, uint64_t position,
                                              uint64_t stream = 0) {
  return static_cast<double>(random_bits(seed, position, stream) >> 11) * 0x1p-53;
}

}  // namespace dsv3::kernels
