// What is an activation under FP8, exactly? Codes and scales of spec §4.4 by search and formula in
// the precision the format fixes (FP32 scales and quotients), for activations and cached latents.
#pragma once

#include <cstdint>
#include <vector>

#include "reference/reference_ops.h"

namespace dsv3::reference {

// The byte of the e4m3 number nearest to `value`, ties to the even mantissa, saturating at 448;
// 0x7f for NaN.
uint8_t nearest_e4m3(float value);
// The value of a byte (spec §4.2).
double e4m3_value(uint8_t byte);

struct QuantBlocks {
  std::vector<uint8_t> codes;  // [rows, width]
  std::vector<float> scales;   // [rows, ceil(width/128)]
  size_t width = 0;

  double code(size_t row, size_t column) const { return e4m3_value(codes[row * width + column]); }
  float scale(size_t row, size_t column) const {
    return scales[row * ((width + 127) / 128) + column / 128];
  }
  Values values() const;  // code * scale. [rows, width]
};

// Profile 1x128: scale = max(max|x|, 1e-4) / 448. x [rows, width], rounded to FP32 first.
QuantBlocks quantise_activations(View x, size_t width);
// F8 latents: the power of two at or above that scale. x [rows, width], rounded to BF16 first.
QuantBlocks quantise_latents(View x, size_t width);

// y = x @ w^T with x quantised 1x128: the products of spec §4.5 in double. x [rows, in], w [out,
// in] dequantised.
Values linear_1x128(View x, View w, size_t in, size_t out);

}  // namespace dsv3::reference
