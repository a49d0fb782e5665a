// Rows to e4m3 codes with a scale per 128 columns: the input of FP8 products.
#pragma once

#include "kernels/common/kernel_types.h"
#include "kernels/common/launch.h"

namespace dsv3::kernels {

// Per row and 128 columns (spec §4.4): a = max(max|x|, 1e-4), s = a / 448, code = e4m3(x / s);
// zeros from x.cols to codes.stride.
struct QuantiseParams {
  ConstMatrix x;  // [T, C]
  Codes codes;    // [T, C]
};
int launch_quantise_any(const QuantiseParams& params, gpu::Stream* stream);

}  // namespace dsv3::kernels
