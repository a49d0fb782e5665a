// RMSNorm of single rows, with the residual addition before and the quantisation after it.
#pragma once

#include "kernels/common/kernel_types.h"
#include "kernels/common/launch.h"

namespace dsv3::kernels {

// s = float(x) + float(h); sum = act(s); out = act(weight * s / sqrt(mean(s^2) + eps)), over the C
// columns of weight, all in FP32. Without h, s = float(x) and sum is left alone. Rows of out, sum,
// x and h may be the same. With codes.codes the row of out is quantised 1x128 too (spec §4.4), bits
// as if it were read back and quantised by itself.
struct NormParams {
  ConstMatrix x;   // [T, >= C]
  ConstMatrix h;   // [T, C] or null
  Matrix sum;      // [T, C], written when h is there
  Weights weight;  // [1, C]
  float eps = 1e-6f;
  Matrix out;   // [T, C]
  Codes codes;  // [T, C], may be null
};
int launch_norm_any(const NormParams& params, gpu::Stream* stream);

}  // namespace dsv3::kernels
