// Which experts does a token go to, and how are their results put together?
#pragma once

#include "kernels/common/kernel_types.h"
#include "kernels/common/launch.h"

namespace dsv3::kernels {

// Mirrors dsv3::RouterShape.
struct RouterDims {
  uint32_t experts = 0;            // E
  uint32_t experts_per_token = 0;  // K
  uint32_t groups = 1;             // G, divides E
  uint32_t groups_kept = 1;
  bool normalise = true;
  float scaling = 1.0f;
};

// Spec §3.3 from the logits on: FP32 sigmoid, bias for selection only, dropped groups -inf, ties to
// the lower index, NaN logits as -inf; ids in descending selection score.
struct RouteParams {
  RouterDims shape;
  uint32_t rows = 0;                  // T
  const float* logits = nullptr;      // [T, E]
  const float* bias = nullptr;        // [E] or null
  int32_t* ids = nullptr;             // [T, K]
  float* weights = nullptr;           // [T, K]
  uint64_t* expert_tokens = nullptr;  // [E], added to; may be null
  uint32_t* nan_count = nullptr;      // added to; may be null
};
int launch_route_any(const RouteParams& params, gpu::Stream* stream);

// out[t, :] = act(sum over k ascending of weights[t, k] * float(y[t*K + k, :]) + float(shared[t,
// :]))
struct ExpertCombineParams {
  ConstMatrix y;                   // [T*K, H]
  const float* weights = nullptr;  // [T, K]
  uint32_t experts_per_token = 0;  // K
  ConstMatrix shared;              // [T, H] or null
  Matrix out;                      // [T, H]
};
int launch_expert_combine_any(const ExpertCombineParams& params, gpu::Stream* stream);

}  // namespace dsv3::kernels
