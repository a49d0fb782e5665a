#include "base/dtype.h"

#include <cmath>
#include <limits>

#include "base/error.h"

namespace dsv3 {
namespace {

struct DTypeInfo {
  DType dtype;
  std::string_view name;
  uint32_t bits;
};

constexpr DTypeInfo kInfos[] = {
    {DType::kBool, "BOOL", 8},
    {DType::kU8, "U8", 8},
    {DType::kI8, "I8", 8},
    {DType::kF8E5M2, "F8_E5M2", 8},
    {DType::kF8E4M3, "F8_E4M3", 8},
    {DType::kF8E8M0, "F8_E8M0", 8},
    {DType::kF8E4M3Fnuz, "F8_E4M3FNUZ", 8},
    {DType::kF8E5M2Fnuz, "F8_E5M2FNUZ", 8},
    {DType::kI16, "I16", 16},
    {DType::kU16, "U16", 16},
    {DType::kF16, "F16", 16},
    {DType::kBF16, "BF16", 16},
    {DType::kI32, "I32", 32},
    {DType::kU32, "U32", 32},
    {DType::kF32, "F32", 32},
    {DType::kI64, "I64", 64},
    {DType::kU64, "U64", 64},
    {DType::kF64, "F64", 64},
    {DType::kC64, "C64", 64},
    {DType::kF4, "F4", 4},
    {DType::kF6E2M3, "F6_E2M3", 6},
    {DType::kF6E3M2, "F6_E3M2", 6},
};

constexpr float decode_e4m3(uint8_t byte) {
  const float sign = (byte & 0x80u) != 0 ? -1.0f : 1.0f;
  const int exponent = (byte >> 3) & 15;
  const int mantissa = byte & 7;
  if (exponent == 15 && mantissa == 7) return std::numeric_limits<float>::quiet_NaN();
  float value = exponent > 0 ? 1.0f + static_cast<float>(mantissa) / 8.0f
                             : static_cast<float>(mantissa) / 8.0f;
  const int power = exponent > 0 ? exponent - 7 : -6;
  for (int i = 0; i < power; ++i) value *= 2.0f;
  for (int i = 0; i > power; --i) value *= 0.5f;
  return sign * value;
}

constexpr std::array<float, 256> make_e4m3_table() {
  std::array<float, 256> table{};
  for (int byte = 0; byte < 256; ++byte) {
    table[static_cast<size_t>(byte)] = decode_e4m3(static_cast<uint8_t>(byte));
  }
  return table;
}

constexpr std::array<float, 256> kE4M3Table = make_e4m3_table();

}  // namespace

uint32_t dtype_bits(DType dtype) {
  for (const DTypeInfo& info : kInfos) {
    if (info.dtype == dtype) return info.bits;
  }
  fail(Status::kInternal, "dtype_bits: unknown dtype ", static_cast<uint32_t>(dtype));
}

std::string_view dtype_name(DType dtype) {
  for (const DTypeInfo& info : kInfos) {
    if (info.dtype == dtype) return info.name;
  }
  return "unknown";
}

std::optional<DType> dtype_from_name(std::string_view name) {
  for (const DTypeInfo& info : kInfos) {
    if (info.name == name) return info.dtype;
  }
  return std::nullopt;
}

float f16_to_float(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t exponent = (bits >> 10) & 31u;
  const uint32_t mantissa = bits & 0x3ffu;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent > 0)
    return std::bit_cast<float>(sign | ((exponent + 112u) << 23) | (mantissa << 13));
  const float value = static_cast<float>(mantissa) * 0x1p-24f;
  return sign != 0 ? -value : value;
}

float e4m3_to_float(uint8_t byte) { return kE4M3Table[byte]; }

uint8_t e4m3_from_float(float value) {
  const uint8_t sign = std::signbit(value) ? 0x80u : 0u;
  const float magnitude = std::fabs(value);
  if (std::isnan(value)) return sign | 0x7fu;
  if (magnitude >= 448.0f) return sign | 0x7eu;
  // One unit in the last place: 2^(e-3) for normal values, 2^-9 below 2^-6.
  int exponent = 0;
  std::frexp(magnitude, &exponent);
  const int ulp_power = exponent - 1 < -6 ? -9 : exponent - 1 - 3;
  const float steps = std::nearbyint(std::ldexp(magnitude, -ulp_power));
  const float rounded = std::ldexp(steps, ulp_power);
  for (int byte = 0; byte < 0x7f; ++byte) {
    if (kE4M3Table[static_cast<size_t>(byte)] == rounded) return sign | static_cast<uint8_t>(byte);
  }
  return sign | 0x7eu;
}

const std::array<float, 256>& e4m3_table() { return kE4M3Table; }

}  // namespace dsv3
