// The decoder of the oracle: embedding, blocks, final norm, head.
#include "reference/reference_model.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace dsv3::reference {

ReferenceModel::ReferenceModel(ReferenceConfig config,
                               std::map<std::string, ReferenceTensor> tensors)
    : config_(std::move(config)), tensors_(std::move(tensors)) {}

ReferenceRun ReferenceModel::run(std::span<const int32_t> tokens) const {
  const double eps = config_.rms_norm_eps;
  ReferenceRun result;
  result.router_margin.assign(tokens.size(), std::numeric_limits<double>::infinity());
  Values residual(tokens.size() * config_.hidden_size, 0.0);
  Values h = embed(tokens);
  for (size_t layer = 0; layer < config_.num_hidden_layers; ++layer) {
    const std::string prefix = str("model.layers.", layer, ".");
    AddNormResult block = add_norm(h, residual, weight(prefix + "input_layernorm.weight"), eps);
    h = attention(layer, stored(std::move(block.normed), precision_));
    residual = stored(std::move(block.residual), precision_);
    block = add_norm(h, residual, weight(prefix + "post_attention_layernorm.weight"), eps);
    h = feed_forward(layer, stored(std::move(block.normed), precision_), result.router_margin);
    residual = stored(std::move(block.residual), precision_);
  }
  const Values y =
      stored(add_norm(h, residual, weight("model.norm.weight"), eps).normed, precision_);
  result.logits = linear(y, weight("lm_head.weight"), config_.hidden_size, config_.vocab_size);
  return result;
}

View ReferenceModel::weight(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) fail(Status::kInvalidModel, "the oracle misses tensor ", name);
  return found->second.values;
}

Precision ReferenceModel::precision_of(const std::string& prefix,
                                       const std::vector<std::string>& names) const {
  size_t fp8_count = 0;
  for (const std::string& name : names) {
    if (tensors_.at(prefix + name + ".weight").is_fp8) ++fp8_count;
  }
  DSV3_ASSERT(fp8_count == 0 || fp8_count == names.size());
  Precision precision = precision_;
  precision.quantise = precision_.quantise && fp8_count != 0;
  return precision;
}

ExpertWeights ReferenceModel::expert(const std::string& prefix) const {
  return {weight(prefix + "gate_proj.weight"), weight(prefix + "up_proj.weight"),
          weight(prefix + "down_proj.weight"),
          precision_of(prefix, {"gate_proj", "up_proj", "down_proj"})};
}

bool ReferenceModel::is_moe(size_t layer) const {
  return config_.n_routed_experts > 0 && layer >= config_.first_k_dense_replace &&
         layer % config_.moe_layer_freq == 0;
}

Values ReferenceModel::embed(std::span<const int32_t> tokens) const {
  const View table = weight("model.embed_tokens.weight");
  Values rows;
  for (const int32_t token : tokens) {
    const View row =
        table.subspan(static_cast<size_t>(token) * config_.hidden_size, config_.hidden_size);
    rows.insert(rows.end(), row.begin(), row.end());
  }
  return rows;
}

Values ReferenceModel::attention(size_t layer, View x) const {
  const std::string prefix = str("model.layers.", layer, ".self_attn.");
  MlaParams params;
  params.hidden = config_.hidden_size;
  params.heads = config_.num_attention_heads;
  params.q_lora = config_.q_lora_rank;
  params.latent = config_.kv_lora_rank;
  params.nope = config_.qk_nope_head_dim;
  params.rope = config_.qk_rope_head_dim;
  params.v = config_.v_head_dim;
  params.norm_eps = config_.low_rank_norm_eps;
  params.rotary = config_.rotary;
  params.absorbed = absorbed_;
  MlaWeights weights;
  std::vector<std::string> projections = {"kv_a_proj_with_mqa", "kv_b_proj", "o_proj"};
  if (params.q_lora > 0) {
    projections.insert(projections.end(), {"q_a_proj", "q_b_proj"});
    weights.q_a = weight(prefix + "q_a_proj.weight");
    weights.q_a_norm = weight(prefix + "q_a_layernorm.weight");
    weights.q_b = weight(prefix + "q_b_proj.weight");
  } else {
    projections.emplace_back("q_proj");
    weights.q = weight(prefix + "q_proj.weight");
  }
  weights.kv_a = weight(prefix + "kv_a_proj_with_mqa.weight");
  weights.kv_a_norm = weight(prefix + "kv_a_layernorm.weight");
  weights.kv_b = weight(prefix + "kv_b_proj.weight");
  weights.o = weight(prefix + "o_proj.weight");
  weights.precision = precision_of(prefix, projections);
  return mla_forward(x, params, weights);
}

Values ReferenceModel::feed_forward(size_t layer, View x, Values& margin) const {
  const std::string prefix = str("model.layers.", layer, ".mlp.");
  if (!is_moe(layer)) return expert_forward(x, expert(prefix), config_.hidden_size);
  RouterParams params;
  params.experts = config_.n_routed_experts;
  params.top_k = config_.num_experts_per_tok;
  params.groups = config_.n_group;
  params.topk_groups = config_.topk_group;
  params.norm_topk = config_.norm_topk_prob;
  params.scaling = config_.routed_scaling_factor;
  MoeWeights weights;
  weights.router = weight(prefix + "gate.weight");
  weights.bias = weight(prefix + "gate.e_score_correction_bias");
  for (size_t e = 0; e < params.experts; ++e) {
    weights.experts.push_back(expert(str(prefix, "experts.", e, ".")));
  }
  if (config_.n_shared_experts > 0) weights.shared = expert(prefix + "shared_experts.");
  Values margins;
  Values y = stored(moe_forward(x, config_.hidden_size, params, weights, &margins), precision_);
  for (size_t i = 0; i < margins.size(); ++i) margin[i] = std::min(margin[i], margins[i]);
  return y;
}

double relative_l2(View actual, View expected) {
  DSV3_ASSERT(actual.size() == expected.size());
  double error = 0.0;
  double norm = 0.0;
  for (size_t i = 0; i < actual.size(); ++i) {
    error += (actual[i] - expected[i]) * (actual[i] - expected[i]);
    norm += expected[i] * expected[i];
  }
  return std::sqrt(error / norm);
}

}  // namespace dsv3::reference
