// Rows, FP8 and RoPE of the oracle. Attention and experts are in their own files.
#include "reference/reference_ops.h"

#include <algorithm>
#include <cmath>

#include "base/dtype.h"
#include "base/error.h"
#include "reference/reference_quant.h"

namespace dsv3::reference {

Values rms_norm(View x, View weight, double eps) {
  const size_t width = weight.size();
  DSV3_ASSERT(width > 0 && x.size() % width == 0);
  Values y(x.size());
  for (size_t row = 0; row < x.size() / width; ++row) {
    double sum = 0.0;
    for (size_t i = 0; i < width; ++i) sum += x[row * width + i] * x[row * width + i];
    const double inverse = 1.0 / std::sqrt(sum / static_cast<double>(width) + eps);
    for (size_t i = 0; i < width; ++i)
      y[row * width + i] = weight[i] * x[row * width + i] * inverse;
  }
  return y;
}

AddNormResult add_norm(View x, View residual, View weight, double eps) {
  DSV3_ASSERT(x.size() == residual.size());
  AddNormResult result;
  result.residual.resize(x.size());
  for (size_t i = 0; i < x.size(); ++i) result.residual[i] = x[i] + residual[i];
  result.normed = rms_norm(result.residual, weight, eps);
  return result;
}

Values linear(View x, View w, size_t in, size_t out) {
  DSV3_ASSERT(in > 0 && x.size() % in == 0 && w.size() == in * out);
  const size_t rows = x.size() / in;
  Values y(rows * out);
  for (size_t row = 0; row < rows; ++row) {
    for (size_t o = 0; o < out; ++o) {
      double sum = 0.0;
      for (size_t i = 0; i < in; ++i) sum += x[row * in + i] * w[o * in + i];
      y[row * out + o] = sum;
    }
  }
  return y;
}

Values dequantize_fp8(const Fp8Weight& weight) {
  const size_t scale_columns = (weight.columns + weight.block - 1) / weight.block;
  const size_t scale_rows = (weight.rows + weight.block - 1) / weight.block;
  DSV3_ASSERT(weight.bytes.size() == weight.rows * weight.columns);
  DSV3_ASSERT(weight.scales.size() == scale_rows * scale_columns);
  Values values(weight.bytes.size());
  for (size_t r = 0; r < weight.rows; ++r) {
    for (size_t c = 0; c < weight.columns; ++c) {
      const float scale = weight.scales[(r / weight.block) * scale_columns + c / weight.block];
      values[r * weight.columns + c] =
          e4m3_value(weight.bytes[r * weight.columns + c]) * static_cast<double>(scale);
    }
  }
  return values;
}

Values project(View x, View w, size_t in, size_t out, const Precision& precision) {
  return stored(precision.quantise ? linear_1x128(x, w, in, out) : linear(x, w, in, out),
                precision);
}

Values stored(Values x, const Precision& precision) {
  if (!precision.bf16) return x;
  for (double& value : x) value = static_cast<double>(bf16_round(static_cast<float>(value)));
  return x;
}

Values swiglu(View gate, View up) {
  DSV3_ASSERT(gate.size() == up.size());
  Values y(gate.size());
  for (size_t i = 0; i < gate.size(); ++i) y[i] = gate[i] / (1.0 + std::exp(-gate[i])) * up[i];
  return y;
}

YarnRange yarn_range(const RopeParams& params) {
  const double dim = static_cast<double>(params.dim);
  const auto correction = [&](double rotations) {
    const double wavelength = params.original_max_position / (2.0 * M_PI * rotations);
    return dim * std::log(wavelength) / (2.0 * std::log(params.theta));
  };
  YarnRange range{};
  range.corr_fast = correction(params.beta_fast);
  range.corr_slow = correction(params.beta_slow);
  range.low = std::max(std::floor(range.corr_fast), 0.0);
  range.high = std::min(std::ceil(range.corr_slow), dim - 1.0);
  return range;
}

double yarn_magnitude(double factor, double mscale) {
  return factor <= 1.0 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

std::vector<float> rope_inv_freq(const RopeParams& params) {
  const double dim = static_cast<double>(params.dim);
  std::vector<float> inv_freq(params.dim / 2);
  YarnRange range{};
  if (params.yarn) {
    range = yarn_range(params);
    if (range.low == range.high) range.high += 0.001;
  }
  for (size_t i = 0; i < inv_freq.size(); ++i) {
    const double index = static_cast<double>(i);
    double value = std::pow(params.theta, -2.0 * index / dim);
    if (params.yarn) {
      const double ramp = std::clamp((index - range.low) / (range.high - range.low), 0.0, 1.0);
      value = value / params.factor * ramp + value * (1.0 - ramp);
    }
    inv_freq[i] = static_cast<float>(value);
  }
  return inv_freq;
}

double rope_magnitude(const RopeParams& params) {
  if (!params.yarn) return 1.0;
  return yarn_magnitude(params.factor, params.mscale) /
         yarn_magnitude(params.factor, params.mscale_all_dim);
}

double softmax_scale(size_t query_dim, const RopeParams& params) {
  const double plain = 1.0 / std::sqrt(static_cast<double>(query_dim));
  if (!params.yarn || params.mscale_all_dim == 0.0) return plain;
  const double magnitude = yarn_magnitude(params.factor, params.mscale_all_dim);
  return plain * magnitude * magnitude;
}

// x [rows, heads, dim]; the pairs are neighbours or half a vector apart.
static Values rotate(View x, std::span<const int32_t> positions, std::span<const float> inv_freq,
                     double magnitude, bool interleaved) {
  const size_t dim = 2 * inv_freq.size();
  const size_t rows = positions.size();
  DSV3_ASSERT(rows > 0 && dim > 0 && x.size() % (rows * dim) == 0);
  const size_t heads = x.size() / (rows * dim);
  Values y(x.size());
  for (size_t row = 0; row < rows; ++row) {
    for (size_t i = 0; i < inv_freq.size(); ++i) {
      const float angle = static_cast<float>(positions[row]) * inv_freq[i];
      const double cosine = std::cos(static_cast<double>(angle)) * magnitude;
      const double sine = std::sin(static_cast<double>(angle)) * magnitude;
      for (size_t head = 0; head < heads; ++head) {
        const size_t a = (row * heads + head) * dim + (interleaved ? 2 * i : i);
        const size_t b = interleaved ? a + 1 : a + dim / 2;
        y[a] = x[a] * cosine - x[b] * sine;
        y[b] = x[a] * sine + x[b] * cosine;
      }
    }
  }
  return y;
}

Values rope(View x, std::span<const int32_t> positions, std::span<const float> inv_freq,
            double magnitude) {
  return rotate(x, positions, inv_freq, magnitude, true);
}

Values rope_half_split(View x, std::span<const int32_t> positions, std::span<const float> inv_freq,
                       double magnitude) {
  return rotate(x, positions, inv_freq, magnitude, false);
}

}  // namespace dsv3::reference
