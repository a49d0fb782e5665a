// What config.json says: one validated struct. Every variant of the family is named here, once;
// nothing downstream infers a variant from a dimension or from a weight that happens to exist (spec
// §1).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ops/args.h"

namespace dsv3 {

enum class ModelFamily : uint8_t { kDeepSeekV3, kKimiK2 };

// YaRN (spec §2.4); absent = plain RoPE.
struct YarnConfig {
  double factor = 1.0;
  uint32_t original_positions = 0;
  double beta_fast = 32.0;
  double beta_slow = 1.0;
  double mscale = 1.0;
  double mscale_all_dim = 0.0;
};

struct ModelConfig {
  ModelFamily family = ModelFamily::kDeepSeekV3;
  uint32_t vocab = 0;          // V
  uint32_t hidden = 0;         // H
  uint32_t layers = 0;         // L, without MTP modules
  uint32_t mtp_layers = 0;     // stored as layers L, L+1, ...
  uint32_t positions_max = 0;  // max_position_embeddings
  uint32_t query_rank = 0;     // Rq; 0 = no q_lora, plain q_proj
  MlaShape mla;                // N, dn, dr, dv, Rkv
  float norm_eps = 1e-6f;
  float low_rank_norm_eps = 1e-6f;  // q_a and kv_a norms, whatever the config says (trap T9)
  double rope_theta = 10000.0;
  std::optional<YarnConfig> yarn;
  uint32_t dense_width = 0;         // I
  uint32_t first_dense_layers = 0;  // first_k_dense_replace
  uint32_t moe_layer_freq = 1;
  uint32_t expert_width = 0;        // M
  uint32_t shared_experts = 0;      // S: one fused MLP of width S*M (trap T28)
  RouterShape router;               // E = 0: a dense model
  bool tied_head = false;           // lm_head is the embedding
  std::vector<int32_t> eos_tokens;  // union of config.json and generation_config.json
  std::optional<int32_t> bos_token;

  bool is_moe_layer(uint32_t layer) const {
    return router.experts > 0 && layer >= first_dense_layers && layer % moe_layer_freq == 0;
  }
};

// Sampling defaults of generation_config.json; unset = the library's neutral value.
struct GenerationDefaults {
  std::optional<bool> do_sample;
  std::optional<double> temperature;
  std::optional<double> top_p;
  std::optional<double> min_p;
  std::optional<uint32_t> top_k;
  std::optional<double> repetition_penalty;
};

// INVALID_MODEL for broken or contradictory values, UNSUPPORTED naming the field for variants
// outside the family. `generation_config_json` may be empty; its eos ids are added to the config's.
// Sampling defaults that no generation would take are INVALID_MODEL too.
ModelConfig parse_model_config(std::string_view config_json,
                               std::string_view generation_config_json);
GenerationDefaults parse_generation_defaults(std::string_view generation_config_json);

// inv_freq [dr/2] in FP32 (spec §2.4, blended by YaRN when present).
std::vector<float> rope_inv_freq(const ModelConfig& config);
// Factor on cos and sin: g(F, mscale) / g(F, mscale_all_dim), 1 without YaRN.
float rope_magnitude(const ModelConfig& config);
// (dn+dr)^-0.5 * g(F, mscale_all_dim)^2 (trap T1).
float softmax_scale(const ModelConfig& config);

}  // namespace dsv3
