// Four neighbouring weights as floats, dequantised: what kernels without tensor cores read at a
// time, in one instruction where the address allows it.
#pragma once

#include "kernels/common/numeric.h"

namespace dsv3::kernels {

struct __attribute__((may_alias, aligned(4))) FourBytes {
  uint8_t part[4];
};
struct __attribute__((may_alias, aligned(8))) FourHalves {
  uint16_t part[4];
};
struct __attribute__((may_alias, aligned(16))) FourFloats {
  float part[4];
};

__device__ __forceinline__ void decode_quad(const FourHalves& four, Type type, float (&out)[4]) {
  const bool is_bf16 = type == Type::kBF16;
  for (int i = 0; i < 4; ++i) {
    out[i] = is_bf16 ? bf16_to_float(four.part[i]) : f16_to_float(four.part[i]);
  }
}

// out = W[row, col .. col+3]; col is a multiple of 4. What lies past the last column is not read
// and counts as 0.
__device__ __forceinline__ void load_quad(const Weights& weight, uint32_t row, uint32_t col,
                                          float (&out)[4]) {
  const uint64_t index = row * weight.stride + col;
  const uint32_t element = weight.type == Type::kF32 ? 4 : (weight.type == Type::kF8E4M3 ? 1 : 2);
  const auto* from = static_cast<const unsigned char*>(weight.data) + index * element;
  const bool is_whole =
      col + 4 <= weight.cols && (reinterpret_cast<uintptr_t>(from) & (4 * element - 1)) == 0;
  if (!is_whole) {
    for (uint32_t i = 0; i < 4; ++i) {
      out[i] = col + i < weight.cols ? load_float(weight.data, weight.type, index + i) : 0.0f;
    }
  } else if (element == 2) {
    decode_quad(*reinterpret_cast<const FourHalves*>(from), weight.type, out);
  } else if (element == 4) {
    const FourFloats four = *reinterpret_cast<const FourFloats*>(from);
    for (int i = 0; i < 4; ++i) out[i] = four.part[i];
  } else {
    const FourBytes four = *reinterpret_cast<const FourBytes*>(from);
    for (int i = 0; i < 4; ++i) out[i] = e4m3_to_float(four.part[i]);
  }
  if (weight.scales != nullptr) {
    const float scale = weight.scales[row / kBlock * weight.scale_stride + col / kBlock];
    for (float& value : out) value *= scale;
  }
}

}  // namespace dsv3::kernels
