// config.json: the real members of the family are read exactly (spec §1.2, §2.4, §6.4, §10.1),
// everything outside it is refused by the name of its field.
#include "model/config.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "model/weights.h"

namespace dsv3 {
namespace {

using nlohmann::json;

json deepseek_v3() {
  return json::parse(R"({
    "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3",
    "vocab_size": 129280, "hidden_size": 7168, "num_hidden_layers": 61,
    "num_nextn_predict_layers": 1, "intermediate_size": 18432, "moe_intermediate_size": 2048,
    "n_routed_experts": 256, "num_experts_per_tok": 8, "n_shared_experts": 1,
    "first_k_dense_replace": 3, "moe_layer_freq": 1, "n_group": 8, "topk_group": 4,
    "scoring_func": "sigmoid", "topk_method": "noaux_tc", "norm_topk_prob": true,
    "routed_scaling_factor": 2.5, "num_attention_heads": 128, "num_key_value_heads": 128,
    "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
    "v_head_dim": 128, "attention_bias": false, "rms_norm_eps": 1e-06, "rope_theta": 10000,
    "rope_scaling": {"type": "yarn", "factor": 40, "original_max_position_embeddings": 4096,
      "beta_fast": 32, "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 1.0},
    "max_position_embeddings": 163840, "hidden_act": "silu", "tie_word_embeddings": false,
    "bos_token_id": 0, "eos_token_id": 1,
    "quantization_config": {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
      "weight_block_size": [128, 128]}})");
}

json kimi_k2() {
  json config = deepseek_v3();
  config.update(json::parse(R"({"model_type": "kimi_k2", "vocab_size": 163840,
    "num_attention_heads": 64, "first_k_dense_replace": 1, "n_routed_experts": 384, "n_group": 1,
    "topk_group": 1, "routed_scaling_factor": 2.827, "rope_theta": 50000.0,
    "num_nextn_predict_layers": 0, "max_position_embeddings": 131072, "bos_token_id": 163584,
    "eos_token_id": 163585})"));
  config["rope_scaling"].update(json::parse(R"({"factor": 32, "beta_fast": 1, "beta_slow": 1})"));
  return config;
}

json moonlight() {
  json config = deepseek_v3();
  config.update(json::parse(R"({"vocab_size": 163840, "hidden_size": 2048, "num_hidden_layers": 27,
    "num_nextn_predict_layers": 0, "num_attention_heads": 16, "intermediate_size": 11264,
    "moe_intermediate_size": 1408, "first_k_dense_replace": 1, "n_routed_experts": 64,
    "num_experts_per_tok": 6, "n_shared_experts": 2, "n_group": 1, "topk_group": 1,
    "routed_scaling_factor": 2.446, "q_lora_rank": null, "rms_norm_eps": 1e-05,
    "rope_theta": 50000.0, "rope_scaling": null, "max_position_embeddings": 8192,
    "bos_token_id": 163584, "eos_token_id": [163585, 163586]})"));
  config.erase("quantization_config");
  return config;
}

ModelConfig parse(const json& config, const std::string& generation = {}) {
  return parse_model_config(config.dump(), generation);
}

uint64_t parameters(const ModelConfig& config) {
  ModelWeights weights;
  uint64_t total = 0;
  visit_manifest(config, weights,
                 [&](const WeightRequest& request) { total += request.shape.elements(); });
  return total;
}

TEST(Manifest, CountsOfTheRealModels) {
  ModelWeights weights;
  const ModelConfig config = parse(deepseek_v3());
  uint64_t tensors = 0;
  visit_manifest(config, weights, [&](const WeightRequest& request) {
    tensors += request.may_be_fp8 ? 2 : 1;  // with its scale
  });
  const uint64_t mtp_layer = 12 + 2 + 1544 + 6;  // not in the manifest
  EXPECT_EQ(tensors + mtp_layer, 91'991u);
  EXPECT_EQ(parameters(config), 671'026'419'200u);
  EXPECT_EQ(parameters(parse(kimi_k2())), 1'026'408'232'448u);
  EXPECT_EQ(parameters(parse(moonlight())), 15'960'110'208u);
}

TEST(Config, NamesTheVariants) {
  EXPECT_EQ(parse(deepseek_v3()).family, ModelFamily::kDeepSeekV3);
  EXPECT_EQ(parse(kimi_k2()).family, ModelFamily::kKimiK2);
  const ModelConfig config = parse(moonlight());
  EXPECT_EQ(config.query_rank, 0u);
  EXPECT_EQ(config.shared_experts, 2u);
  EXPECT_EQ(config.eos_tokens, (std::vector<int32_t>{163585, 163586}));
  EXPECT_FLOAT_EQ(config.norm_eps, 1e-5f);
  EXPECT_FLOAT_EQ(config.low_rank_norm_eps, 1e-6f);
  EXPECT_FALSE(config.yarn.has_value());
}

TEST(Config, EosIsTheUnionWithGenerationConfig) {
  const ModelConfig config = parse(kimi_k2(), R"({"eos_token_id": [163585, 163586]})");
  EXPECT_EQ(config.eos_tokens, (std::vector<int32_t>{163585, 163586}));
}

// The newer spelling (trap T6).
TEST(Config, RopeParameters) {
  json config = deepseek_v3();
  json block = config["rope_scaling"];
  block["rope_type"] = block["type"];
  block.erase("type");
  block["rope_theta"] = config["rope_theta"];
  config.erase("rope_scaling");
  config.erase("rope_theta");
  config["rope_parameters"] = block;
  EXPECT_EQ(rope_inv_freq(parse(config)), rope_inv_freq(parse(deepseek_v3())));
  EXPECT_EQ(softmax_scale(parse(config)), softmax_scale(parse(deepseek_v3())));
  config["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 50000.0}};
  EXPECT_FALSE(parse(config).yarn.has_value());
  EXPECT_EQ(parse(config).rope_theta, 50000.0);
}

TEST(Config, RopeBlocksThatSayTooLittle) {
  json config = deepseek_v3();
  config["rope_parameters"] = config["rope_scaling"];
  config["rope_scaling"] = json::object();
  EXPECT_TRUE(parse(config).yarn.has_value()) << "an empty block hides the other one";
  config = deepseek_v3();
  config["rope_scaling"].erase("type");
  EXPECT_THROW(parse(config), Error) << "a factor without a type";
  config = deepseek_v3();
  config["rope_scaling"].erase("factor");
  EXPECT_THROW(parse(config), Error);
}

struct FreqCase {
  std::function<json()> config;
  float scale;
  std::vector<std::pair<size_t, float>> inv_freq;
};

TEST(Rope, CheckValuesOfTheSpec) {
  const std::vector<FreqCase> cases = {
      {deepseek_v3,
       0.13523378f,
       {{0, 1.0f},
        {1, 0.749894209f},
        {9, 0.0749894209f},
        {10, 0.0562341325f},
        {11, 0.0390069266f},
        {15, 0.00833450895f},
        {16, 0.0055f},
        {20, 0.000790569415f},
        {22, 0.000177827941f},
        {23, 3.33380358e-05f},
        {31, 3.33380358e-06f}}},
      {kimi_k2,
       0.13086080f,
       {{18, 0.00227420376f}, {19, 0.00162175991f}, {20, 3.61404677e-05f}, {31, 8.76441291e-07f}}},
      {moonlight, 0.07216878f, {{0, 1.0f}}}};
  for (const FreqCase& item : cases) {
    const ModelConfig config = parse(item.config());
    EXPECT_NEAR(softmax_scale(config), item.scale, 1e-7f);
    EXPECT_FLOAT_EQ(rope_magnitude(config), 1.0f);
    const std::vector<float> inv_freq = rope_inv_freq(config);
    ASSERT_EQ(inv_freq.size(), 32u);
    for (const auto& [index, value] : item.inv_freq) {
      EXPECT_NEAR(inv_freq[index] / value, 1.0f, 1e-6f) << "pair " << index;
    }
  }
}

struct Refusal {
  const char* key;
  json value;
  Status status;
};

TEST(Config, RefusesByName) {
  const std::vector<Refusal> refusals = {
      {"model_type", "llama", Status::kUnsupported},
      {"model_type", "deepseek_v32", Status::kUnsupported},
      {"architectures", {"LlamaForCausalLM"}, Status::kUnsupported},
      {"scoring_func", "softmax", Status::kUnsupported},
      {"topk_method", "greedy", Status::kUnsupported},
      {"hidden_act", "gelu", Status::kUnsupported},
      {"attention_bias", true, Status::kUnsupported},
      {"rope_interleave", false, Status::kUnsupported},
      {"quantization_config", {{"quant_method", "awq"}}, Status::kUnsupported},
      {"hidden_size", 0, Status::kInvalidModel},
      {"hidden_size", "7168", Status::kInvalidModel},
      {"hidden_size", 7168.5, Status::kInvalidModel},
      {"hidden_size", -1, Status::kInvalidModel},
      {"num_hidden_layers", 100000, Status::kInvalidModel},
      {"vocab_size", 4294967296, Status::kInvalidModel},
      {"n_group", 7, Status::kInvalidModel},
      {"topk_group", 9, Status::kInvalidModel},
      {"num_experts_per_tok", 200, Status::kInvalidModel},
      {"qk_rope_head_dim", 63, Status::kInvalidModel},
      {"rms_norm_eps", 0, Status::kInvalidModel},
      {"rms_norm_eps", 1e-300, Status::kInvalidModel},
      {"routed_scaling_factor", 1e39, Status::kInvalidModel},
      {"rope_scaling",
       {{"type", "yarn"},
        {"factor", 1e30},
        {"original_max_position_embeddings", 4096},
        {"mscale_all_dim", 1e30}},
       Status::kInvalidModel},
      {"rope_theta", -10000, Status::kInvalidModel},
      {"eos_token_id", 129280, Status::kInvalidModel},
  };
  for (const Refusal& refusal : refusals) {
    json config = deepseek_v3();
    config[refusal.key] = refusal.value;
    try {
      parse(config);
      ADD_FAILURE() << refusal.key << " = " << refusal.value << " was accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.status(), refusal.status) << error.what();
      EXPECT_NE(error.message().find(refusal.key), std::string::npos) << error.what();
      EXPECT_NE(error.message().find("config.json"), std::string::npos) << error.what();
    }
  }
}

TEST(Config, GenerationDefaults) {
  const GenerationDefaults none = parse_generation_defaults("");
  EXPECT_FALSE(none.temperature.has_value());
  const GenerationDefaults some =
      parse_generation_defaults(R"({"do_sample": true, "temperature": 0.6, "top_p": 0.95})");
  EXPECT_EQ(some.temperature, 0.6);
  EXPECT_EQ(some.top_p, 0.95);
  EXPECT_FALSE(some.top_k.has_value());
}

// What every generation would refuse is the file's fault, told when it is read.
TEST(Config, RefusesSamplingDefaultsThatNoGenerationTakes) {
  for (const char* text :
       {R"({"temperature":-0.5})", R"({"temperature":1e39})", R"({"top_p":0})", R"({"top_p":1.5})",
        R"({"min_p":-1})", R"({"min_p":2})", R"({"repetition_penalty":0})", R"({"top_p":"0.9"})"}) {
    try {
      parse_generation_defaults(text);
      ADD_FAILURE() << text << " was accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.status(), Status::kInvalidModel) << error.what();
      EXPECT_NE(error.message().find("generation_config.json"), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace dsv3
