// The model's weights by their role, and the manifest that says which tensor of a checkpoint fills
// which.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/view.h"
#include "model/config.h"
#include "ops/args.h"

namespace dsv3 {

struct MlaWeights {
  Weight q_a;        // [Rq, H]; absent when Rq = 0
  Weight q_a_norm;   // [Rq]
  Weight q_b;        // [N*(dn+dr), Rq]; with Rq = 0 the plain q_proj [N*(dn+dr), H]
  Weight kv_a;       // [Rkv+dr, H]
  Weight kv_a_norm;  // [Rkv]
  Weight kv_b;       // [N*(dn+dv), Rkv]
  Weight o;          // [H, N*dv]
};

struct MlpWeights {
  Weight gate;  // [I, H]
  Weight up;    // [I, H]
  Weight down;  // [H, I]
};

struct MoeWeights {
  Weight gate;                         // [E, H]
  Weight bias;                         // [1, E] F32
  std::vector<ExpertWeights> experts;  // [E]
  MlpWeights shared;                   // width S*M; absent when S = 0
};

struct LayerWeights {
  Weight attention_norm;  // [H] input_layernorm
  Weight ffn_norm;        // [H] post_attention_layernorm
  MlaWeights mla;
  bool is_moe = false;
  MlpWeights dense;  // when !is_moe
  MoeWeights moe;    // when is_moe
};

struct ModelWeights {
  Weight embed;       // [V, H]
  Weight final_norm;  // [H]
  Weight head;        // [V, H]
  std::vector<LayerWeights> layers;
};

// One tensor the model needs.
struct WeightRequest {
  std::string name;
  Shape shape;               // [rows, cols] or [cols]
  Weight* target = nullptr;  // inside a ModelWeights that does not move any more
  bool may_be_fp8 = false;   // the projections that official checkpoints quantise (spec §4.3)
  bool as_float = false;     // converted to F32 in own memory (the router's correction bias)
};

using WeightVisitor = std::function<void(WeightRequest)>;

// Sizes `weights` for the config and hands every tensor to `visit`, in checkpoint order. One at a
// time: what a config claims may be far more than a checkpoint holds. `weights` must stay where it
// is while the requests live.
void visit_manifest(const ModelConfig& config, ModelWeights& weights, const WeightVisitor& visit);

}  // namespace dsv3
