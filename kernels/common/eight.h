// Eight neighbouring elements of a row as floats, by 16-byte accesses where the address allows
// them. What is computed never depends on which way was taken.
#pragma once

#include "kernels/common/device_code.h"
#include "kernels/common/numeric.h"

namespace dsv3::kernels {

struct Eight {
  float at[8];
};

// 16 bytes of whatever type (may_alias: the same memory is read as elements, too).
struct alignas(16) [[gnu::may_alias]] SixteenBytes {
  uint32_t word[4];
};

__device__ __forceinline__ bool is_aligned16(const void* address) {
  return (reinterpret_cast<uintptr_t>(address) & 15u) == 0;
}

__device__ __forceinline__ uint32_t groups_of_eight(uint32_t count) { return (count + 7) / 8; }

// Elements index .. index+7; those from `count` on are neither read nor other than 0.
__device__ __forceinline__ Eight load_eight(const void* data, Type type, uint64_t index,
                                            uint32_t count) {
  Eight values;
  const auto* bytes = static_cast<const unsigned char*>(data);
  if (type == Type::kF32 && count >= 8 && is_aligned16(bytes + index * 4)) {
    const auto* from = reinterpret_cast<const SixteenBytes*>(bytes + index * 4);
    const SixteenBytes low = from[0];
    const SixteenBytes high = from[1];
    for (uint32_t i = 0; i < 4; ++i) {
      values.at[i] = __uint_as_float(low.word[i]);
      values.at[i + 4] = __uint_as_float(high.word[i]);
    }
  } else if (type == Type::kBF16 && count >= 8 && is_aligned16(bytes + index * 2)) {
    const SixteenBytes all = *reinterpret_cast<const SixteenBytes*>(bytes + index * 2);
    for (uint32_t i = 0; i < 4; ++i) {
      values.at[2 * i] = __uint_as_float(all.word[i] << 16);
      values.at[2 * i + 1] = __uint_as_float(all.word[i] & 0xffff0000u);
    }
  } else {
    for (uint32_t i = 0; i < 8; ++i) {
      values.at[i] = i < count ? load_float(data, type, index + i) : 0.0f;
    }
  }
  return values;
}

// BF16 or F32; elements from `count` on are not written.
__device__ __forceinline__ void store_eight(void* data, Type type, uint64_t index, uint32_t count,
                                            const Eight& values) {
  auto* bytes = static_cast<unsigned char*>(data);
  if (type == Type::kF32 && count >= 8 && is_aligned16(bytes + index * 4)) {
    auto* to = reinterpret_cast<SixteenBytes*>(bytes + index * 4);
    SixteenBytes half;
    for (uint32_t i = 0; i < 4; ++i) half.word[i] = __float_as_uint(values.at[i]);
    to[0] = half;
    for (uint32_t i = 0; i < 4; ++i) half.word[i] = __float_as_uint(values.at[i + 4]);
    to[1] = half;
  } else if (type == Type::kBF16 && count >= 8 && is_aligned16(bytes + index * 2)) {
    SixteenBytes all;
    for (uint32_t i = 0; i < 4; ++i) {
      const uint32_t high = bf16_from_float(values.at[2 * i + 1]);
      all.word[i] = bf16_from_float(values.at[2 * i]) | high << 16;
    }
    *reinterpret_cast<SixteenBytes*>(bytes + index * 2) = all;
  } else {
    for (uint32_t i = 0; i < 8; ++i) {
      if (i < count) store_float(data, type, index + i, values.at[i]);
    }
  }
}

// Eight elements of row `row` of a weight from column `col` on, block scales applied.
__device__ __forceinline__ Eight load_eight(const Weights& weight, uint32_t row, uint32_t col,
                                            uint32_t count) {
  Eight values = load_eight(weight.data, weight.type, row * weight.stride + col, count);
  if (weight.scales != nullptr) {
    const float scale = weight.scales[row / kBlock * weight.scale_stride + col / kBlock];
    for (float& value : values.at) value *= scale;
  }
  return values;
}

}  // namespace dsv3::kernels
