// Exact conversions between stored bits and float, equal on a GPU and emulated.
#pragma once

#include "kernels/common/device_code.h"

namespace dsv3::kernels {

__device__ __forceinline__ float bf16_to_float(uint16_t bits) {
  return __uint_as_float(static_cast<uint32_t>(bits) << 16);
}

// Round to nearest even; NaN stays a quiet NaN.
__device__ __forceinline__ uint16_t bf16_from_float(float value) {
  const uint32_t bits = __float_as_uint(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

__device__ __forceinline__ float f16_to_float(uint16_t bits) {
  const uint32_t sign = (bits & 0x8000u) << 16;
  const uint32_t magnitude = bits & 0x7fffu;
  if (magnitude >= 0x7c00u) return __uint_as_float(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
  // Subnormals are counted in steps of 2^-24; the others only change their exponent's bias.
  const float value = magnitude < 0x400u
                          ? static_cast<float>(magnitude) * 0x1p-24f
                          : __uint_as_float((magnitude << 13) + ((127u - 15u) << 23));
  return __uint_as_float(__float_as_uint(value) | sign);
}

// e4m3 "fn" (spec §4.2).
__device__ __forceinline__ float e4m3_to_float(uint8_t byte) {
  const uint32_t magnitude = byte & 0x7fu;
  const uint32_t sign = (byte & 0x80u) << 24;
  if (magnitude == 0x7fu) return __uint_as_float(sign | 0x7fc00000u);
  const float value = magnitude < 8u ? static_cast<float>(magnitude) * 0x1p-9f
                                     : __uint_as_float((magnitude << 20) + ((127u - 7u) << 23));
  return __uint_as_float(__float_as_uint(value) | sign);
}

// e4m3 is exact in BF16.
__device__ __forceinline__ uint16_t e4m3_to_bf16(uint8_t byte) {
  return static_cast<uint16_t>(__float_as_uint(e4m3_to_float(byte)) >> 16);
}

// Round to nearest even, saturating at 448; NaN gives 0x7f.
__device__ __forceinline__ uint8_t e4m3_from_float(float value) {
  const uint32_t bits = __float_as_uint(value);
  const auto sign = static_cast<uint8_t>((bits >> 24) & 0x80u);
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return 0x7f;
  const float size = __uint_as_float(magnitude);
  if (size >= 448.0f) return sign | 0x7e;
  if (size < 0x1p-6f) {  // subnormal: adding 2^14 leaves the quotient by 2^-9 in the low bits
    return sign | static_cast<uint8_t>(__float_as_uint(size + 0x1p14f) & 0xfu);
  }
  const uint32_t rounded = magnitude + 0x7ffffu + ((magnitude >> 20) & 1u);
  return sign | static_cast<uint8_t>((rounded >> 20) - (120u << 3));
}

__device__ __forceinline__ float load_float(const void* data, Type type, uint64_t index) {
  switch (type) {
    case Type::kF32:
      return static_cast<const float*>(data)[index];
    case Type::kBF16:
      return bf16_to_float(static_cast<const uint16_t*>(data)[index]);
    case Type::kF16:
      return f16_to_float(static_cast<const uint16_t*>(data)[index]);
    case Type::kF8E4M3:
      return e4m3_to_float(static_cast<const uint8_t*>(data)[index]);
  }
  return 0.0f;
}

// BF16 or F32.
__device__ __forceinline__ void store_float(void* data, Type type, uint64_t index, float value) {
  if (type == Type::kF32) {
    static_cast<float*>(data)[index] = value;
  } else {
    static_cast<uint16_t*>(data)[index] = bf16_from_float(value);
  }
}

}  // namespace dsv3::kernels
