#include "reference/reference_quant.h"

#include <algorithm>
#include <cmath>

#include "base/dtype.h"
#include "base/error.h"

namespace dsv3::reference {
namespace {

constexpr size_t kBlockWidth = 128;

template <typename Scale>
QuantBlocks quantise(const std::vector<float>& x, size_t width, const Scale& scale_of) {
  DSV3_ASSERT(width > 0 && x.size() % width == 0);
  QuantBlocks blocks;
  blocks.width = width;
  for (size_t row = 0; row < x.size() / width; ++row) {
    for (size_t begin = 0; begin < width; begin += kBlockWidth) {
      const size_t end = std::min(begin + kBlockWidth, width);
      float top = 0.0f;
      for (size_t i = begin; i < end; ++i) top = std::fmax(top, std::fabs(x[row * width + i]));
      const float scale = scale_of(top);
      blocks.scales.push_back(scale);
      for (size_t i = begin; i < end; ++i) {
        blocks.codes.push_back(nearest_e4m3(x[row * width + i] / scale));
      }
    }
  }
  return blocks;
}

float activation_scale(float top) { return std::fmax(top, 1e-4f) / 448.0f; }

}  // namespace

double e4m3_value(uint8_t byte) {
  const int exponent = (byte >> 3) & 15;
  const int mantissa = byte & 7;
  const double sign = (byte & 0x80) != 0 ? -1.0 : 1.0;
  if (exponent == 15 && mantissa == 7) return std::nan("");
  if (exponent == 0) return sign * std::ldexp(mantissa / 8.0, -6);
  return sign * std::ldexp(1.0 + mantissa / 8.0, exponent - 7);
}

uint8_t nearest_e4m3(float value) {
  if (std::isnan(value)) return 0x7f;
  const double magnitude = std::fabs(static_cast<double>(value));
  uint8_t best = 0;
  for (uint8_t byte = 1; byte < 0x7f; ++byte) {  // values ascend with their bytes
    const double before = magnitude - e4m3_value(best);
    const double after = e4m3_value(byte) - magnitude;
    if (after < before || (after == before && byte % 2 == 0)) best = byte;
  }
  return static_cast<uint8_t>(best | (std::signbit(value) ? 0x80 : 0));
}

Values QuantBlocks::values() const {
  Values out;
  for (size_t i = 0; i < codes.size(); ++i) {
    out.push_back(code(i / width, i % width) * static_cast<double>(scale(i / width, i % width)));
  }
  return out;
}

QuantBlocks quantise_activations(View x, size_t width) {
  const std::vector<float> rows(x.begin(), x.end());
  return quantise(rows, width, activation_scale);
}

QuantBlocks quantise_latents(View x, size_t width) {
  std::vector<float> rows;
  for (const double value : x) rows.push_back(bf16_round(static_cast<float>(value)));
  return quantise(rows, width, [](float top) {
    const float scale = activation_scale(top);
    int exponent = 0;
    const float fraction =
        std::frexp(scale, &exponent);  // scale = fraction * 2^exponent, 1/2 <= ..
    return std::ldexp(1.0f, fraction == 0.5f ? exponent - 1 : std::min(exponent, 127));
  });
}

Values linear_1x128(View x, View w, size_t in, size_t out) {
  return linear(quantise_activations(x, in).values(), w, in, out);
}

}  // namespace dsv3::reference
