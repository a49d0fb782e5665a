// What logits should a checkpoint give? The whole network over the operations of reference_ops.h,
// one sequence at a time, every step in double precision.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "reference/reference_ops.h"

namespace dsv3::reference {

struct ReferenceTensor {
  std::vector<size_t> shape;
  Values values;  // FP8 already dequantised
  bool is_fp8 = false;
};

struct ReferenceConfig {
  std::string model_type;
  size_t vocab_size = 0;
  size_t hidden_size = 0;
  size_t num_hidden_layers = 0;
  size_t num_attention_heads = 0;
  size_t q_lora_rank = 0;  // 0: null in the file
  size_t kv_lora_rank = 0;
  size_t qk_nope_head_dim = 0;
  size_t qk_rope_head_dim = 0;
  size_t v_head_dim = 0;
  size_t n_routed_experts = 0;
  size_t num_experts_per_tok = 0;
  size_t n_shared_experts = 0;
  size_t first_k_dense_replace = 0;
  size_t moe_layer_freq = 1;
  size_t n_group = 1;
  size_t topk_group = 1;
  bool norm_topk_prob = true;
  double routed_scaling_factor = 1.0;
  double rms_norm_eps = 1e-6;
  double low_rank_norm_eps = 1e-6;  // not in the file: the published code never passes the other
  RopeParams rotary;
};

struct ReferenceRun {
  Values logits;         // [tokens, vocab]
  Values router_margin;  // [tokens]: the smallest Routing::margin over the layers
};

class ReferenceModel {
 public:
  ReferenceModel(ReferenceConfig config, std::map<std::string, ReferenceTensor> tensors);

  const ReferenceConfig& config() const { return config_; }
  // Chooses the form of attention; naive by default.
  void set_absorbed(bool absorbed) { absorbed_ = absorbed; }
  // Rounds as the library does; nothing by default. `quantise` is for linears with FP8 weights.
  void set_precision(const Precision& precision) { precision_ = precision; }

  ReferenceRun run(std::span<const int32_t> tokens) const;
  // The logits of run(). [tokens, vocab]
  Values forward(std::span<const int32_t> tokens) const { return run(tokens).logits; }

 private:
  View weight(const std::string& name) const;
  // Of the linears under `prefix`, which must be all FP8 or none.
  Precision precision_of(const std::string& prefix, const std::vector<std::string>& names) const;
  ExpertWeights expert(const std::string& prefix) const;
  bool is_moe(size_t layer) const;
  Values embed(std::span<const int32_t> tokens) const;
  Values attention(size_t layer, View x) const;
  Values feed_forward(size_t layer, View x, Values& margin) const;

  ReferenceConfig config_;
  std::map<std::string, ReferenceTensor> tensors_;
  bool absorbed_ = false;
  Precision precision_ = {};
};

// sqrt(sum (a - b)^2 / sum b^2).
double relative_l2(View actual, View expected);

}  // namespace dsv3::reference
