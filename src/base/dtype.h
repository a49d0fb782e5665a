// Element types of tensors, and exact scalar conversions between them and float.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <optional>
#include <string_view>

namespace dsv3 {

enum class DType : uint8_t {
  kBool,
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,
  kF8E8M0,
  kF8E4M3Fnuz,
  kF8E5M2Fnuz,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kI64,
  kU64,
  kF64,
  kC64,
  kF4,
  kF6E2M3,
  kF6E3M2,
};

// Bits of one element: 4 to 64 (spec §6.1).
uint32_t dtype_bits(DType dtype);
// The safetensors name: "BF16", "F8_E4M3", ...
std::string_view dtype_name(DType dtype);
std::optional<DType> dtype_from_name(std::string_view name);

inline float bf16_to_float(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

// Round to nearest even; NaN stays a (quiet) NaN.
inline uint16_t bf16_from_float(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// value rounded to BF16 and back.
inline float bf16_round(float value) { return bf16_to_float(bf16_from_float(value)); }

float f16_to_float(uint16_t bits);

// e4m3 "fn": bias 7, no infinities, NaN = 0x7f and 0xff (spec §4.2).
float e4m3_to_float(uint8_t byte);
// Round to nearest even, saturating to +-448; NaN stays NaN.
uint8_t e4m3_from_float(float value);
// All 256 values, for table decoding.
const std::array<float, 256>& e4m3_table();

}  // namespace dsv3
