#include "model/weights.h"

#include "base/error.h"

namespace dsv3 {
namespace {

// Hands out requests under one name prefix.
class Manifest {
 public:
  explicit Manifest(const WeightVisitor& visit) : visit_(visit) {}

  void matrix(const std::string& name, uint64_t rows, uint64_t cols, Weight& target) {
    visit_({.name = name + ".weight", .shape = {rows, cols}, .target = &target});
  }
  void projection(const std::string& name, uint64_t rows, uint64_t cols, Weight& target) {
    visit_(
        {.name = name + ".weight", .shape = {rows, cols}, .target = &target, .may_be_fp8 = true});
  }
  void vector(const std::string& name, uint64_t cols, Weight& target) {
    visit_({.name = name + ".weight", .shape = {cols}, .target = &target});
  }
  void mlp(const std::string& prefix, uint64_t hidden, uint64_t width, MlpWeights& target) {
    projection(prefix + "gate_proj", width, hidden, target.gate);
    projection(prefix + "up_proj", width, hidden, target.up);
    projection(prefix + "down_proj", hidden, width, target.down);
  }

  void attention(const std::string& prefix, const ModelConfig& config, MlaWeights& target) {
    const MlaShape& mla = config.mla;
    const uint64_t heads = mla.heads;
    const uint64_t query_width = heads * (mla.nope_dim + mla.rope_dim);
    if (config.query_rank > 0) {
      projection(prefix + "q_a_proj", config.query_rank, config.hidden, target.q_a);
      vector(prefix + "q_a_layernorm", config.query_rank, target.q_a_norm);
      projection(prefix + "q_b_proj", query_width, config.query_rank, target.q_b);
    } else {
      projection(prefix + "q_proj", query_width, config.hidden, target.q_b);
    }
    projection(prefix + "kv_a_proj_with_mqa", mla.latent_rank + mla.rope_dim, config.hidden,
               target.kv_a);
    vector(prefix + "kv_a_layernorm", mla.latent_rank, target.kv_a_norm);
    projection(prefix + "kv_b_proj", heads * (mla.nope_dim + mla.value_dim), mla.latent_rank,
               target.kv_b);
    projection(prefix + "o_proj", config.hidden, heads * mla.value_dim, target.o);
  }

  void moe(const std::string& prefix, const ModelConfig& config, MoeWeights& target) {
    const uint32_t experts = config.router.experts;
    matrix(prefix + "gate", experts, config.hidden, target.gate);
    visit_({.name = prefix + "gate.e_score_correction_bias",
            .shape = {experts},
            .target = &target.bias,
            .as_float = true});
    target.experts.resize(experts);
    for (uint32_t e = 0; e < experts; ++e) {
      const std::string name = str(prefix, "experts.", e, ".");
      projection(name + "gate_proj", config.expert_width, config.hidden, target.experts[e].gate);
      projection(name + "up_proj", config.expert_width, config.hidden, target.experts[e].up);
      projection(name + "down_proj", config.hidden, config.expert_width, target.experts[e].down);
    }
    if (config.shared_experts > 0) {
      mlp(prefix + "shared_experts.", config.hidden,
          uint64_t{config.shared_experts} * config.expert_width, target.shared);
    }
  }

 private:
  const WeightVisitor& visit_;
};

}  // namespace

void visit_manifest(const ModelConfig& config, ModelWeights& weights, const WeightVisitor& visit) {
  Manifest manifest(visit);
  weights.layers.assign(config.layers, LayerWeights{});
  manifest.matrix("model.embed_tokens", config.vocab, config.hidden, weights.embed);
  for (uint32_t i = 0; i < config.layers; ++i) {
    LayerWeights& layer = weights.layers[i];
    const std::string prefix = str("model.layers.", i, ".");
    layer.is_moe = config.is_moe_layer(i);
    manifest.vector(prefix + "input_layernorm", config.hidden, layer.attention_norm);
    manifest.attention(prefix + "self_attn.", config, layer.mla);
    manifest.vector(prefix + "post_attention_layernorm", config.hidden, layer.ffn_norm);
    if (layer.is_moe) {
      manifest.moe(prefix + "mlp.", config, layer.moe);
    } else {
      manifest.mlp(prefix + "mlp.", config.hidden, config.dense_width, layer.dense);
    }
  }
  manifest.vector("model.norm", config.hidden, weights.final_norm);
  if (!config.tied_head) {
    manifest.matrix("lm_head", config.vocab, config.hidden, weights.head);
  }
}

}  // namespace dsv3
