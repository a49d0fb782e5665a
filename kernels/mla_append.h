// Rotating queries and appending latents to the cache (MlaAppendArgs).
#pragma once

#include "kernels/common/kernel_types.h"
#include "kernels/common/launch.h"

namespace dsv3::kernels {

struct MlaAppendParams {
  MlaDims dims;
  const float* inv_freq = nullptr;  // [dr/2]
  float magnitude = 1.0f;
  const uint32_t* positions = nullptr;  // [T]
  const uint32_t* row_spans = nullptr;  // [T]
  const Span* spans = nullptr;
  Matrix q;       // [T, N*(dn+dr)], read and written
  ConstMatrix z;  // [T, Rkv+dr]
  Weights norm;   // [1, Rkv]
  float eps = 1e-6f;
  Pages pages;
};

int launch_mla_append_any(const MlaAppendParams& params, gpu::Stream* stream);

}  // namespace dsv3::kernels
