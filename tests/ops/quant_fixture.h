// What does an op multiply under profile 1x128, and how exactly must it add? The values of the
// codes, and the bound of an FP8 tensor core's sums on real hardware.
#pragma once

#include <algorithm>
#include <cmath>
#include <string_view>

#include "cuda/gpu_runtime.h"
#include "ops/ops_fixture.h"
#include "reference/reference_quant.h"

namespace dsv3::ops_test {

inline bool quantises(ActivationQuant quant, DType weight) {
  return quant == ActivationQuant::k1x128 && weight == DType::kF8E4M3;
}

// Whether a product is computed by the FP8 tensor cores of a real GPU. The emulated one adds in
// FP32.
inline bool on_tensor_cores(const OpsParam& param, DType weight) {
  return param.is_cuda && quantises(param.quant, weight) &&
         std::string_view(gpu::backend_name()) != "cuda emulated";
}

// Rows x [.., width] as they meet a weight of this dtype.
inline Values multiplied(const Values& x, uint32_t width, DType weight, ActivationQuant quant) {
  return quantises(quant, weight) ? reference::quantise_activations(x, width).values() : x;
}

// How far the tensor cores of a real GPU may be from the sum of the products of at most 128 codes.
// Hopper aligns the addends of one instruction to the largest and keeps about 14 significant bits
// of each ("FP8 GEMM ... retaining around 14 bits", DeepSeek-V3 Technical Report, arXiv 2412.19437,
// §3.3.2; spec §4.5): each addend loses less than 2^-13 of the largest. The addends are every
// product once, and the running sum once per instruction of at least 16 columns. Later GPUs keep
// more. x, w [count]: the factors in order of K, with or without their common scales.
inline double tensor_core_error(const double* x, const double* w, size_t count) {
  constexpr double kLost = 0x1p-13;
  double sum = 0.0;
  double largest = 0.0;
  for (size_t i = 0; i < count; ++i) {
    sum += x[i] * w[i];
    largest = std::max({largest, std::fabs(x[i] * w[i]), std::fabs(sum)});
  }
  const double addends = static_cast<double>(count + (count + 15) / 16);
  // The sums so far are off themselves, by what this returns: once more covers it.
  return addends * kLost * largest * (1.0 + addends * kLost);
}

// The same for a whole row, promoted to FP32 every 128 columns.
inline double tensor_core_row_error(const double* x, const double* w, size_t width) {
  double error = 0.0;
  for (size_t begin = 0; begin < width; begin += kBlock) {
    error += tensor_core_error(x + begin, w + begin, std::min<size_t>(kBlock, width - begin));
  }
  return error;
}

// y = x w^T of rows as multiplied() gave them: how far an element may be before it is rounded to y.
inline Values product_bound(const Values& x, const Matrix& w, const OpsParam& param) {
  const bool is_on_cores = on_tensor_cores(param, w.dtype());
  const uint32_t width = w.cols();
  const Values weights = w.values();
  Values bound;
  for (size_t row = 0; row < x.size() / width; ++row) {
    for (size_t o = 0; o < w.row_count(); ++o) {
      const double* a = &x[row * width];
      const double* b = &weights[o * width];
      double magnitude = 0.0;
      for (size_t i = 0; i < width; ++i) magnitude += std::fabs(a[i] * b[i]);
      const double error = is_on_cores ? tensor_core_row_error(a, b, width) : 0.0;
      bound.push_back(magnitude * sum_error(width, param) + error + 1e-36);
    }
  }
  return bound;
}

}  // namespace dsv3::ops_test
