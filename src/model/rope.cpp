// Rotary frequencies and the two magnitude corrections of YaRN (spec §2.4).
#include <algorithm>
#include <cmath>
#include <numbers>

#include "model/config.h"

namespace dsv3 {
namespace {

// g(F, m): 1 for F <= 1, else 0.1 m ln F + 1.
double yarn_gain(double factor, double mscale) {
  return factor <= 1.0 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

// The pair index at which a wavelength makes `rotations` turns over the original context.
double correction_dim(double rotations, const ModelConfig& config) {
  const double original = config.yarn->original_positions;
  return config.mla.rope_dim * std::log(original / (2.0 * std::numbers::pi * rotations)) /
         (2.0 * std::log(config.rope_theta));
}

}  // namespace

std::vector<float> rope_inv_freq(const ModelConfig& config) {
  const uint32_t dim = config.mla.rope_dim;
  std::vector<float> inv_freq(dim / 2);
  double low = 0.0;
  double high = 0.0;
  if (config.yarn) {
    low = std::max(std::floor(correction_dim(config.yarn->beta_fast, config)), 0.0);
    // The upper clamp is dim - 1, not the last pair index (trap T5).
    high = std::min(std::ceil(correction_dim(config.yarn->beta_slow, config)), dim - 1.0);
    if (low == high) high += 0.001;
  }
  for (uint32_t i = 0; i < dim / 2; ++i) {
    const double plain = std::pow(config.rope_theta, -2.0 * i / dim);
    double value = plain;
    if (config.yarn) {
      const double ramp = std::clamp((i - low) / (high - low), 0.0, 1.0);
      value = plain / config.yarn->factor * ramp + plain * (1.0 - ramp);
    }
    inv_freq[i] = static_cast<float>(value);
  }
  return inv_freq;
}

float rope_magnitude(const ModelConfig& config) {
  if (!config.yarn) return 1.0f;
  const YarnConfig& yarn = *config.yarn;
  return static_cast<float>(yarn_gain(yarn.factor, yarn.mscale) /
                            yarn_gain(yarn.factor, yarn.mscale_all_dim));
}

float softmax_scale(const ModelConfig& config) {
  double scale = 1.0 / std::sqrt(static_cast<double>(config.mla.nope_dim + config.mla.rope_dim));
  if (config.yarn && config.yarn->mscale_all_dim != 0.0) {
    const double gain = yarn_gain(config.yarn->factor, config.yarn->mscale_all_dim);
    scale *= gain * gain;
  }
  return static_cast<float>(scale);
}

}  // namespace dsv3
