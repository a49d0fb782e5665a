// Goal: every scalar conversion is exact. Method: all 8- and 16-bit patterns against a naive
// reading of the formats, and every float between neighbours for the way back.
#include "base/dtype.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <string>

#include "base/random.h"

namespace dsv3 {
namespace {

// sign, exponent and mantissa fields of a small float, by the definition; IEEE infinities optional.
struct Format {
  int exponent_bits;
  int mantissa_bits;
  bool has_infinity;
};

double naive(uint32_t bits, const Format& format) {
  const uint32_t mantissa_mask = (1u << format.mantissa_bits) - 1;
  const uint32_t exponent_mask = (1u << format.exponent_bits) - 1;
  const uint32_t mantissa = bits & mantissa_mask;
  const uint32_t exponent = bits >> format.mantissa_bits & exponent_mask;
  const double sign = (bits >> (format.mantissa_bits + format.exponent_bits) & 1u) != 0 ? -1 : 1;
  const int bias = (1 << (format.exponent_bits - 1)) - 1;
  if (exponent == exponent_mask && format.has_infinity)
    return mantissa == 0 ? sign * INFINITY : NAN;
  if (exponent == exponent_mask && mantissa == mantissa_mask) return NAN;
  const double fraction = mantissa / std::pow(2.0, format.mantissa_bits);
  if (exponent == 0) return sign * fraction * std::pow(2.0, 1 - bias);
  return sign * (1.0 + fraction) * std::pow(2.0, static_cast<int>(exponent) - bias);
}

// Equal, with the sign of zero, or both NaN.
bool same(float a, double b) {
  if (std::isnan(b)) return std::isnan(a);
  return static_cast<double>(a) == b && std::signbit(a) == std::signbit(b);
}

TEST(DType, NamesAreDistinctAndReadBack) {
  std::set<std::string_view> names;
  for (uint32_t i = 0; i <= static_cast<uint32_t>(DType::kF6E3M2); ++i) {
    const auto dtype = static_cast<DType>(i);
    EXPECT_TRUE(names.insert(dtype_name(dtype)).second);
    EXPECT_EQ(dtype_from_name(dtype_name(dtype)), dtype);
    EXPECT_GE(dtype_bits(dtype), 4u);
    EXPECT_LE(dtype_bits(dtype), 64u);
  }
  EXPECT_EQ(dtype_bits(DType::kBF16), 16u);
  EXPECT_EQ(dtype_bits(DType::kF8E4M3), 8u);
  EXPECT_EQ(dtype_bits(DType::kF6E2M3), 6u);
  EXPECT_FALSE(dtype_from_name("bf16"));
  EXPECT_FALSE(dtype_from_name(""));
}

TEST(DType, DecodesEveryE4M3Byte) {
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const double wanted = naive(byte, {4, 3, false});
    EXPECT_TRUE(same(e4m3_to_float(static_cast<uint8_t>(byte)), wanted)) << byte;
    EXPECT_TRUE(same(e4m3_table()[byte], wanted)) << byte;
  }
  EXPECT_EQ(e4m3_to_float(0x7e), 448.0f);
  EXPECT_EQ(e4m3_to_float(0x01), 0x1p-9f);
}

TEST(DType, DecodesEveryF16AndBF16) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const auto word = static_cast<uint16_t>(bits);
    EXPECT_TRUE(same(f16_to_float(word), naive(bits, {5, 10, true}))) << bits;
    EXPECT_TRUE(same(bf16_to_float(word), naive(bits, {8, 7, true}))) << bits;
  }
}

TEST(DType, RoundsToNearestEvenBF16) {
  for (uint32_t bits = 0; bits < 0x7f80; ++bits) {
    const uint32_t exact = bits << 16;
    const auto word = static_cast<uint16_t>(bits);
    const auto next = static_cast<uint16_t>(bits + 1);
    EXPECT_EQ(bf16_from_float(std::bit_cast<float>(exact)), word);
    EXPECT_EQ(bf16_from_float(std::bit_cast<float>(exact + 0x7fff)), word);
    EXPECT_EQ(bf16_from_float(std::bit_cast<float>(exact + 0x8000)), bits % 2 == 0 ? word : next);
    EXPECT_EQ(bf16_from_float(std::bit_cast<float>(exact + 0x8001)), next);
    EXPECT_EQ(bf16_from_float(-std::bit_cast<float>(exact + 0x8001)), next | 0x8000);
  }
  EXPECT_TRUE(std::isnan(bf16_to_float(bf16_from_float(std::bit_cast<float>(0x7f800001u)))));
  EXPECT_TRUE(std::isnan(bf16_round(NAN)));
  EXPECT_EQ(bf16_round(INFINITY), INFINITY);
}

TEST(DType, RoundsToNearestEvenE4M3) {
  for (uint32_t byte = 0; byte < 0x7e; ++byte) {
    const float low = e4m3_to_float(static_cast<uint8_t>(byte));
    const float high = e4m3_to_float(static_cast<uint8_t>(byte + 1));
    const float middle = (low + high) / 2;
    const uint32_t even = byte % 2 == 0 ? byte : byte + 1;
    EXPECT_EQ(e4m3_from_float(low), byte);
    EXPECT_EQ(e4m3_from_float(middle), even) << byte;
    EXPECT_EQ(e4m3_from_float(std::nextafter(middle, 0.0f)), byte);
    EXPECT_EQ(e4m3_from_float(std::nextafter(middle, 1000.0f)), byte + 1);
    EXPECT_EQ(e4m3_from_float(-middle), even | 0x80);
  }
  EXPECT_EQ(e4m3_from_float(1e30f), 0x7e);
  EXPECT_EQ(e4m3_from_float(-INFINITY), 0xfe);
  EXPECT_EQ(e4m3_from_float(NAN), 0x7f);
  EXPECT_EQ(e4m3_from_float(-0.0f), 0x80);
}

TEST(Random, IsAPureFunctionWithDistinctStreams) {
  std::set<uint64_t> seen;
  for (uint64_t seed = 0; seed < 8; ++seed) {
    for (uint64_t position = 0; position < 1000; ++position) {
      for (uint64_t stream = 0; stream < 2; ++stream) {
        EXPECT_TRUE(seen.insert(random_bits(seed, position, stream)).second);
      }
    }
  }
  double sum = 0;
  for (uint64_t position = 0; position < 100000; ++position) {
    const double value = random_unit(7, position);
    ASSERT_TRUE(value >= 0.0 && value < 1.0);
    sum += value;
  }
  EXPECT_NEAR(sum / 100000, 0.5, 0.005);  // five standard deviations
  EXPECT_EQ(random_bits(1, 2, 3), random_bits(1, 2, 3));
}

}  // namespace
}  // namespace dsv3
