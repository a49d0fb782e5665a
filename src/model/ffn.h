// The feed-forward half of a layer: a dense SwiGLU MLP, or the mixture of experts (spec §3).
#pragma once

#include "model/mla.h"

namespace dsv3 {

// out [T, H] = (silu(x gate^T) * (x up^T)) down^T with x = buffers.x.
void mlp_forward(Ops& ops, const PassContext& pass, const MlpWeights& weights, const Rows& out);

// buffers.h [T, H] = routed experts weighted by the router + the shared expert. `layer_tokens` [E]
// counts the tokens each expert got.
void moe_forward(Ops& ops, Ops& expert_ops, const PassContext& pass, const ModelConfig& config,
                 const MoeWeights& weights, uint64_t* layer_tokens);

}  // namespace dsv3
