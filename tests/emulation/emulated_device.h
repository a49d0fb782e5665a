// The language of device code as plain C++ (kernels/common/device_code.h lists what a kernel may
// use). What is missing here is missing on purpose: it has no emulated twin yet.
#pragma once

#include <math.h>  // unlike <cmath>: float overloads in the global namespace, as device code has them

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "emulation/emulated_block.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)

namespace dsv3::kernels {

template <typename T>
inline T& shared_memory() {
  return *static_cast<T*>(emulated::shared_arena(sizeof(T), alignof(T)));
}

}  // namespace dsv3::kernels

// --- vectors

struct alignas(8) int2 {
  int x, y;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

// --- the block. The source position tells two barriers apart and names them in messages.

inline void __syncthreads(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  dsv3::emulated::block_barrier({file, line});
}
inline int __syncthreads_count(int predicate, const char* file = __builtin_FILE(),
                               int line = __builtin_LINE()) {
  return static_cast<int>(dsv3::emulated::block_barrier_count({file, line}, predicate != 0));
}
inline int __syncthreads_or(int predicate, const char* file = __builtin_FILE(),
                            int line = __builtin_LINE()) {
  return dsv3::emulated::block_barrier_count({file, line}, predicate != 0) != 0;
}
inline int __syncthreads_and(int predicate, const char* file = __builtin_FILE(),
                             int line = __builtin_LINE()) {
  return dsv3::emulated::block_barrier_count({file, line}, predicate != 0) == blockDim.x;
}
// Blocks run one after the other, so fences have nothing to order.
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}
[[noreturn]] inline void __trap() { dsv3::emulated::fault("__trap"); }

// --- the warp

namespace dsv3::emulated {

// The types that CUDA shuffles.
template <typename T>
concept ShuffleValue = std::is_arithmetic_v<T> &&(sizeof(T) == 4 || sizeof(T) == 8);

template <ShuffleValue T>
inline T shuffle(uint32_t mask, T value, uint32_t source) {
  if constexpr (sizeof(T) == 4) {
    const uint64_t bits = warp_shuffle(mask, std::bit_cast<uint32_t>(value), source);
    return std::bit_cast<T>(static_cast<uint32_t>(bits));
  } else {
    return std::bit_cast<T>(warp_shuffle(mask, std::bit_cast<uint64_t>(value), source));
  }
}

inline uint32_t own_lane() { return threadIdx.x & 31u; }

}  // namespace dsv3::emulated

template <typename T>
inline T __shfl_sync(uint32_t mask, T value, int lane, int width = 32) {
  const uint32_t inside = static_cast<uint32_t>(width) - 1;
  const uint32_t own = dsv3::emulated::own_lane();
  return dsv3::emulated::shuffle(mask, value,
                                 (own & ~inside) | (static_cast<uint32_t>(lane) & inside));
}
template <typename T>
inline T __shfl_xor_sync(uint32_t mask, T value, int lanes, int width = 32) {
  const uint32_t inside = static_cast<uint32_t>(width) - 1;
  const uint32_t own = dsv3::emulated::own_lane();
  const uint32_t source = own ^ static_cast<uint32_t>(lanes);
  // A lane may read its own segment and those before it.
  return dsv3::emulated::shuffle(mask, value, source > (own | inside) ? own : source);
}
template <typename T>
inline T __shfl_up_sync(uint32_t mask, T value, unsigned lanes, int width = 32) {
  const uint32_t inside = static_cast<uint32_t>(width) - 1;
  const uint32_t own = dsv3::emulated::own_lane();
  return dsv3::emulated::shuffle(mask, value, (own & inside) >= lanes ? own - lanes : own);
}
template <typename T>
inline T __shfl_down_sync(uint32_t mask, T value, unsigned lanes, int width = 32) {
  const uint32_t inside = static_cast<uint32_t>(width) - 1;
  const uint32_t own = dsv3::emulated::own_lane();
  return dsv3::emulated::shuffle(mask, value, (own & inside) + lanes <= inside ? own + lanes : own);
}
inline void __syncwarp(uint32_t mask = 0xffffffffu) { dsv3::emulated::warp_sync(mask); }
inline unsigned __ballot_sync(uint32_t mask, int predicate) {
  return dsv3::emulated::warp_ballot(mask, predicate != 0);
}
inline int __any_sync(uint32_t mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(uint32_t mask, int predicate) {
  return __ballot_sync(mask, predicate) == mask;
}
inline unsigned __reduce_add_sync(uint32_t mask, unsigned value) {
  return dsv3::emulated::warp_reduce_add(mask, value);
}
inline unsigned __reduce_max_sync(uint32_t mask, unsigned value) {
  return dsv3::emulated::warp_reduce_max(mask, value);
}
inline unsigned __reduce_min_sync(uint32_t mask, unsigned value) {
  return dsv3::emulated::warp_reduce_min(mask, value);
}

// --- atomics; they order nothing, as on a GPU

namespace dsv3::emulated {

template <typename T>
concept AtomicWord = std::same_as<T, int> || std::same_as<T, unsigned> ||
    std::same_as<T, unsigned long long> || std::same_as<T, float>;

template <AtomicWord T, typename Change>
inline T atomic_change(T* at, const Change& change) {
  T old;
  __atomic_load(at, &old, __ATOMIC_RELAXED);
  T next = change(old);
  while (!__atomic_compare_exchange(at, &old, &next, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    next = change(old);
  }
  return old;
}

}  // namespace dsv3::emulated

template <typename T>
inline T atomicAdd(T* at, std::type_identity_t<T> value) {
  return dsv3::emulated::atomic_change(at, [value](T old) { return static_cast<T>(old + value); });
}
template <std::integral T>
inline T atomicSub(T* at, std::type_identity_t<T> value) {
  return dsv3::emulated::atomic_change(at, [value](T old) { return static_cast<T>(old - value); });
}
template <std::integral T>
inline T atomicMax(T* at, std::type_identity_t<T> value) {
  return dsv3::emulated::atomic_change(at, [value](T old) { return old > value ? old : value; });
}
template <std::integral T>
inline T atomicMin(T* at, std::type_identity_t<T> value) {
  return dsv3::emulated::atomic_change(at, [value](T old) { return old < value ? old : value; });
}
template <std::integral T>
inline T atomicAnd(T* at, std::type_identity_t<T> value) {
  return dsv3::emulated::atomic_change(at, [value](T old) { return old & value; });
}
template <std::integral T>
inline T atomicOr(T* at, std::type_identity_t<T> value) {
  return dsv3::emulated::atomic_change(at, [value](T old) { return old | value; });
}
template <typename T>
inline T atomicExch(T* at, std::type_identity_t<T> value) {
  return dsv3::emulated::atomic_change(at, [value](T) { return value; });
}
template <std::integral T>
inline T atomicCAS(T* at, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  return dsv3::emulated::atomic_change(
      at, [expected, value](T old) { return old == expected ? value : old; });
}

// --- bits

inline int __popc(unsigned bits) { return std::popcount(bits); }
inline int __popcll(unsigned long long bits) { return std::popcount(bits); }
inline int __clz(int bits) { return std::countl_zero(static_cast<unsigned>(bits)); }
inline int __clzll(long long bits) {
  return std::countl_zero(static_cast<unsigned long long>(bits));
}
inline int __ffs(int bits) { return __builtin_ffs(bits); }
inline int __ffsll(long long bits) { return __builtin_ffsll(bits); }
inline unsigned __float_as_uint(float value) { return std::bit_cast<unsigned>(value); }
inline float __uint_as_float(unsigned bits) { return std::bit_cast<float>(bits); }
inline int __float_as_int(float value) { return std::bit_cast<int>(value); }
inline float __int_as_float(int bits) { return std::bit_cast<float>(bits); }
inline long long __double_as_longlong(double value) { return std::bit_cast<long long>(value); }
inline double __longlong_as_double(long long bits) { return std::bit_cast<double>(bits); }
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>(static_cast<uint64_t>(a) * b >> 32);
}
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<unsigned long long>(static_cast<Wide>(a) * b >> 64);
}

// --- memory and numbers

template <typename T>
inline T __ldg(const T* at) {
  return *at;
}
template <typename T>
inline T __ldcs(const T* at) {
  return *at;
}
template <typename T>
inline T __ldcg(const T* at) {
  return *at;
}

inline float rsqrtf(float value) { return 1.0f / sqrtf(value); }
inline double rsqrt(double value) { return 1.0 / sqrt(value); }
inline float __expf(float value) { return expf(value); }
inline float __logf(float value) { return logf(value); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float value) { return sqrtf(value); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }

// Of two equal types: CUDA also mixes signed with unsigned, which hides mistakes.
inline int min(int a, int b) { return b < a ? b : a; }
inline int max(int a, int b) { return a < b ? b : a; }
inline unsigned min(unsigned a, unsigned b) { return b < a ? b : a; }
inline unsigned max(unsigned a, unsigned b) { return a < b ? b : a; }
inline long min(long a, long b) { return b < a ? b : a; }
inline long max(long a, long b) { return a < b ? b : a; }
inline unsigned long min(unsigned long a, unsigned long b) { return b < a ? b : a; }
inline unsigned long max(unsigned long a, unsigned long b) { return a < b ? b : a; }
inline unsigned long long min(unsigned long long a, unsigned long long b) { return b < a ? b : a; }
inline unsigned long long max(unsigned long long a, unsigned long long b) { return a < b ? b : a; }
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }
