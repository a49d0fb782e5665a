// The feed-forward half of a layer: a dense SwiGLU MLP, or the mixture of experts (spec §3).
#pragma once

#include "model/mla.h"

namespace dsv3 {

// out [T, H] = (silu(x gate^T) * (x up^T)) down^T with x = buffers.x.
void mlp_forward(Ops& ops, const PassContext& pass, const MlpWeights& weights, const Rows& out);

// What one layer's experts are in device memory.
struct MoeLayer {
  const ExpertWeights* experts = nullptr;  // [E]
  uint64_t* expert_tokens = nullptr;       // [E] counts the tokens each expert got
};

// buffers.h [T, H] = routed experts weighted by the router + the shared expert.
void moe_forward(Ops& ops, Ops& expert_ops, const PassContext& pass, const ModelConfig& config,
                 const MoeWeights& weights, const MoeLayer& layer);

}  // namespace dsv3
