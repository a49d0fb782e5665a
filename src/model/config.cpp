#include "model/config.h"

#include <algorithm>
#include <cfloat>
#include <cmath>

#include "base/checked.h"
#include "checkpoint/json.h"

namespace dsv3 {
namespace {

constexpr uint32_t kWidthMax = 1u << 20;  // any single dimension
constexpr uint32_t kLayersMax = 1024;
constexpr uint32_t kExpertsMax = 4096;
constexpr uint32_t kVocabMax = 1u << 24;
constexpr uint32_t kPositionsMax = 1u << 24;

uint32_t in_range(const JsonValue& object, std::string_view key, uint32_t low, uint32_t high) {
  const uint64_t value = object.uint64(key);
  if (value < low || value > high) {
    fail(Status::kInvalidModel, "config.json: \"", key, "\" is ", value, ", wanted ", low, " to ",
         high);
  }
  return static_cast<uint32_t>(value);
}

uint32_t in_range_or(const JsonValue& object, std::string_view key, uint32_t missing, uint32_t low,
                     uint32_t high) {
  return object.is_null(key) ? missing : in_range(object, key, low, high);
}

// Within float's range, where it will be used: what a double holds may be 0 or infinite there.
bool fits_float(double value) { return std::isfinite(value) && std::abs(value) <= FLT_MAX; }

double positive(const JsonValue& object, std::string_view key, double missing) {
  const double value = object.number(key, missing);
  if (!fits_float(value) || value < FLT_MIN) {
    fail(Status::kInvalidModel, "config.json: \"", key, "\" is ", value,
         ", wanted a number above 0 that a float holds");
  }
  return value;
}

double not_negative(const JsonValue& object, std::string_view key, double missing) {
  const double value = object.number(key, missing);
  if (!fits_float(value) || value < 0.0) {
    fail(Status::kInvalidModel, "config.json: \"", key, "\" is ", value,
         ", wanted a number of at least 0 that a float holds");
  }
  return value;
}

[[noreturn]] void unsupported(std::string_view key, std::string_view found,
                              std::string_view wanted) {
  fail(Status::kUnsupported, "config.json: \"", key, "\" is ", found, ", supported: ", wanted);
}

void want_string(const JsonValue& object, std::string_view key, std::string_view wanted) {
  const std::string_view found = object.string(key, wanted);
  if (found != wanted) unsupported(key, str('"', found, '"'), str('"', wanted, '"'));
}

ModelFamily parse_family(const JsonValue& root) {
  const std::string_view type = root.string("model_type", "deepseek_v3");
  if (root.has("index_topk") || type == "deepseek_v32") {
    unsupported("model_type", str('"', type, "\" with the DSA indexer"),
                "\"deepseek_v3\", \"kimi_k2\"");
  }
  if (const auto architectures = root.find("architectures")) {
    for (uint64_t i = 0; i < architectures->size(); ++i) {
      const std::string_view name = architectures->item(i).as_string();
      if (name != "DeepseekV3ForCausalLM" && name != "DeepseekV3Model") {
        unsupported("architectures", str('"', name, '"'), "\"DeepseekV3ForCausalLM\"");
      }
    }
  }
  if (type == "deepseek_v3") return ModelFamily::kDeepSeekV3;
  if (type == "kimi_k2") return ModelFamily::kKimiK2;
  unsupported("model_type", str('"', type, '"'), "\"deepseek_v3\", \"kimi_k2\"");
}

void parse_yarn(const JsonValue& block, ModelConfig& config) {
  if (!block.boolean("truncate", true)) unsupported("rope_scaling.truncate", "false", "true");
  if (!block.is_null("attention_factor")) {
    unsupported("rope_scaling.attention_factor", "set", "mscale and mscale_all_dim");
  }
  YarnConfig yarn;
  if (block.is_null("factor")) {
    fail(Status::kInvalidModel, block.where(), " has no \"factor\", wanted a number above 0");
  }
  yarn.factor = positive(block, "factor", 0.0);
  yarn.original_positions = in_range(block, "original_max_position_embeddings", 1, kPositionsMax);
  yarn.beta_fast = positive(block, "beta_fast", 32.0);
  yarn.beta_slow = positive(block, "beta_slow", 1.0);
  yarn.mscale = not_negative(block, "mscale", 1.0);
  yarn.mscale_all_dim = not_negative(block, "mscale_all_dim", 0.0);
  config.yarn = yarn;
  const float scale = softmax_scale(config);
  const float magnitude = rope_magnitude(config);
  if (!std::isfinite(scale) || !std::isfinite(magnitude)) {
    fail(Status::kInvalidModel, "config.json: \"rope_scaling\" makes a softmax scale of ", scale,
         " and a magnitude of ", magnitude, ", wanted finite numbers");
  }
}

// The YaRN block stands in rope_scaling, in newer exports in rope_parameters (trap T6).
void parse_rope(const JsonValue& root, ModelConfig& config) {
  const auto parameters = root.find("rope_parameters");
  const auto scaling = root.find("rope_scaling");
  const auto names_type = [](const auto& it) {
    return it && !(it->is_null("rope_type") && it->is_null("type"));
  };
  // An empty block beside a full one must not switch YaRN off.
  const auto block = names_type(scaling) || !parameters ? scaling : parameters;
  const bool theta_inside = root.is_null("rope_theta") && block && block->has("rope_theta");
  const bool theta_beside = root.is_null("rope_theta") && !theta_inside && parameters;
  config.rope_theta = positive(theta_inside   ? *block
                               : theta_beside ? *parameters
                                              : root,
                               "rope_theta", 10000.0);
  if (config.rope_theta <= 1.0) {
    fail(Status::kInvalidModel, "config.json: \"rope_theta\" is ", config.rope_theta,
         ", wanted a number above 1");
  }
  if (!root.boolean("rope_interleave", true)) {
    unsupported("rope_interleave", "false", "true (adjacent pairs, as in published checkpoints)");
  }
  if (!block) return;
  if (!names_type(block) && !block->is_null("factor")) {
    fail(Status::kInvalidModel, block->where(), " has a \"factor\" and no \"rope_type\", wanted ",
         "\"yarn\" or \"default\"");
  }
  const std::string_view type = block->string("rope_type", block->string("type", "default"));
  if (type == "default") return;
  if (type != "yarn")
    unsupported("rope_scaling.type", str('"', type, '"'), "\"yarn\", \"default\"");
  parse_yarn(*block, config);
}

void parse_attention(const JsonValue& root, ModelConfig& config) {
  config.query_rank = root.is_null("q_lora_rank") ? 0 : in_range(root, "q_lora_rank", 1, kWidthMax);
  config.mla.heads = in_range(root, "num_attention_heads", 1, 4096);
  config.mla.latent_rank = in_range(root, "kv_lora_rank", 1, 8192);
  config.mla.nope_dim = in_range(root, "qk_nope_head_dim", 1, 4096);
  config.mla.rope_dim = in_range(root, "qk_rope_head_dim", 2, 4096);
  config.mla.value_dim = in_range(root, "v_head_dim", 1, 4096);
  if (config.mla.rope_dim % 2 != 0) {
    fail(Status::kInvalidModel, "config.json: \"qk_rope_head_dim\" is ", config.mla.rope_dim,
         ", wanted an even number");
  }
  if (root.boolean("attention_bias", false)) unsupported("attention_bias", "true", "false");
  const uint64_t widest =
      uint64_t{config.mla.heads} * std::max(config.mla.nope_dim + config.mla.rope_dim,
                                            config.mla.nope_dim + config.mla.value_dim);
  if (widest > (uint64_t{1} << 24)) {
    fail(Status::kInvalidModel, "config.json: \"num_attention_heads\" times the head width is ",
         widest, ", wanted at most ", uint64_t{1} << 24);
  }
}

void parse_experts(const JsonValue& root, ModelConfig& config) {
  config.dense_width = in_range(root, "intermediate_size", 1, kWidthMax);
  if (root.is_null("n_routed_experts")) return;
  RouterShape& router = config.router;
  router.experts = in_range(root, "n_routed_experts", 1, kExpertsMax);
  router.experts_per_token = in_range(root, "num_experts_per_tok", 1, 256);
  router.groups = in_range_or(root, "n_group", 1, 1, kExpertsMax);
  router.groups_kept = in_range_or(root, "topk_group", router.groups, 1, kExpertsMax);
  router.normalise = root.boolean("norm_topk_prob", true);
  router.scaling = static_cast<float>(positive(root, "routed_scaling_factor", 1.0));
  config.expert_width = in_range(root, "moe_intermediate_size", 1, kWidthMax);
  config.shared_experts = in_range_or(root, "n_shared_experts", 0, 0, 64);
  config.first_dense_layers = in_range_or(root, "first_k_dense_replace", 0, 0, kLayersMax);
  config.moe_layer_freq = in_range_or(root, "moe_layer_freq", 1, 1, kLayersMax);
  want_string(root, "scoring_func", "sigmoid");
  want_string(root, "topk_method", "noaux_tc");
  if (router.experts % router.groups != 0) {
    fail(Status::kInvalidModel, "config.json: \"n_group\" is ", router.groups,
         ", wanted a divisor of \"n_routed_experts\" ", router.experts);
  }
  if (router.groups_kept > router.groups) {
    fail(Status::kInvalidModel, "config.json: \"topk_group\" is ", router.groups_kept,
         ", wanted at most \"n_group\" ", router.groups);
  }
  const uint32_t group_size = router.experts / router.groups;
  if (router.groups > 1 && group_size < 2) {
    fail(Status::kInvalidModel, "config.json: \"n_group\" ", router.groups, " leaves ", group_size,
         " expert per group, wanted at least 2");
  }
  if (router.experts_per_token > router.groups_kept * group_size) {
    fail(Status::kInvalidModel, "config.json: \"num_experts_per_tok\" is ",
         router.experts_per_token, ", wanted at most the ", router.groups_kept * group_size,
         " experts of the kept groups");
  }
}

void check_quantization(const JsonValue& root) {
  const auto quantization = root.find("quantization_config");
  if (!quantization) return;
  const std::string_view method = quantization->string("quant_method", "fp8");
  if (method != "fp8") {
    unsupported("quantization_config.quant_method", str('"', method, '"'), "\"fp8\"");
  }
  want_string(*quantization, "fmt", "e4m3");
  if (const auto block = quantization->find("weight_block_size")) {
    const std::vector<int64_t> sizes = block->as_int_list();
    if (sizes.size() != 2 || sizes[0] != kBlock || sizes[1] != kBlock) {
      unsupported("quantization_config.weight_block_size", "not [128, 128]", "[128, 128]");
    }
  }
}

void add_eos(const JsonValue& root, std::string_view file, ModelConfig& config) {
  if (root.is_null("eos_token_id")) return;
  for (const int64_t id : root.int_list("eos_token_id")) {
    if (id < 0 || id >= config.vocab) {
      fail(Status::kInvalidModel, file, ": \"eos_token_id\" is ", id, ", wanted 0 to ",
           config.vocab - 1);
    }
    const auto token = static_cast<int32_t>(id);
    if (std::find(config.eos_tokens.begin(), config.eos_tokens.end(), token) ==
        config.eos_tokens.end()) {
      config.eos_tokens.push_back(token);
    }
  }
}

std::optional<JsonDocument> parse_optional(std::string_view text, std::string_view file) {
  if (text.empty()) return std::nullopt;
  return JsonDocument::parse(text, file);
}

// A sampling default: what every generation would refuse is refused here, where the file is known.
std::optional<double> sampling_value(const JsonValue& root, std::string_view key, double low,
                                     double high) {
  const auto value = root.find(key);
  if (!value) return std::nullopt;
  const double number = value->as_number();
  if (number < low || number > high) {
    fail(Status::kInvalidModel, value->where(), " is ", number, ", wanted ", low, " to ", high);
  }
  return number;
}

}  // namespace

ModelConfig parse_model_config(std::string_view config_json,
                               std::string_view generation_config_json) {
  const JsonDocument document = JsonDocument::parse(config_json, "config.json");
  const JsonValue root = document.root();
  ModelConfig config;
  config.family = parse_family(root);
  config.vocab = in_range(root, "vocab_size", 1, kVocabMax);
  config.hidden = in_range(root, "hidden_size", 1, kWidthMax);
  config.layers = in_range(root, "num_hidden_layers", 1, kLayersMax);
  config.mtp_layers = in_range_or(root, "num_nextn_predict_layers", 0, 0, 16);
  config.positions_max = in_range_or(root, "max_position_embeddings", 4096, 1, kPositionsMax);
  config.norm_eps = static_cast<float>(positive(root, "rms_norm_eps", 1e-6));
  config.tied_head = root.boolean("tie_word_embeddings", false);
  want_string(root, "hidden_act", "silu");
  parse_attention(root, config);
  parse_rope(root, config);
  parse_experts(root, config);
  check_quantization(root);
  add_eos(root, "config.json", config);
  if (!root.is_null("bos_token_id")) {
    const std::vector<int64_t> ids = root.int_list("bos_token_id");
    if (!ids.empty()) config.bos_token = narrow<int32_t>(ids[0], "config.json: bos_token_id");
  }
  if (const auto generation = parse_optional(generation_config_json, "generation_config.json")) {
    add_eos(generation->root(), "generation_config.json", config);
  }
  return config;
}

GenerationDefaults parse_generation_defaults(std::string_view generation_config_json) {
  GenerationDefaults defaults;
  const auto document = parse_optional(generation_config_json, "generation_config.json");
  if (!document) return defaults;
  const JsonValue root = document->root();
  if (const auto value = root.find("do_sample")) defaults.do_sample = value->as_boolean();
  if (const auto value = root.find("top_k")) defaults.top_k = value->as_uint32();
  defaults.temperature = sampling_value(root, "temperature", 0.0, FLT_MAX);
  defaults.top_p = sampling_value(root, "top_p", FLT_MIN, 1.0);
  defaults.min_p = sampling_value(root, "min_p", 0.0, 1.0);
  defaults.repetition_penalty = sampling_value(root, "repetition_penalty", FLT_MIN, FLT_MAX);
  return defaults;
}

}  // namespace dsv3
