// Reads fixtures: safetensors, config.json and golden.safetensors.
#include "reference/reference_checkpoint.h"

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/dtype.h"
#include "base/error.h"

namespace dsv3::reference {
namespace {

using Json = nlohmann::json;

std::string read_file(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) fail(Status::kIo, "the oracle cannot open ", path.string());
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

template <typename T>
std::vector<T> elements_of(const RawTensor& raw) {
  std::vector<T> elements(raw.bytes.size() / sizeof(T));
  if (!elements.empty()) std::memcpy(elements.data(), raw.bytes.data(), raw.bytes.size());
  return elements;
}

// Converts each stored element with `convert`.
template <typename T, typename Convert>
Values converted(const RawTensor& raw, Convert convert) {
  Values values;
  for (const T element : elements_of<T>(raw)) values.push_back(convert(element));
  return values;
}

ReferenceTensor dequantized(const std::string& name, const RawTensor& weight,
                            const std::map<std::string, RawTensor>& all) {
  const auto scale = all.find(name + "_scale_inv");
  if (scale == all.end()) fail(Status::kInvalidModel, name, ": F8_E4M3 without a scale");
  const std::vector<float> scales = elements_of<float>(scale->second);
  Fp8Weight fp8;
  fp8.bytes = weight.bytes;
  fp8.scales = scales;
  fp8.rows = weight.shape.at(0);
  fp8.columns = weight.shape.at(1);
  return {weight.shape, dequantize_fp8(fp8), true};
}

// The RoPE block under either of its spellings; an empty object when there is none.
Json rope_block(const Json& config) {
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (config.contains(key) && config.at(key).is_object()) return config.at(key);
  }
  return Json::object();
}

RopeParams read_rope(const Json& config) {
  const Json block = rope_block(config);
  RopeParams params;
  params.dim = config.at("qk_rope_head_dim").get<size_t>();
  params.theta = block.value("rope_theta", config.value("rope_theta", params.theta));
  params.interleaved = config.value("rope_interleave", true);
  const std::string kind = block.value("rope_type", block.value("type", std::string("default")));
  params.yarn = kind == "yarn";
  if (!params.yarn) return params;
  params.factor = block.at("factor").get<double>();
  params.original_max_position = block.at("original_max_position_embeddings").get<double>();
  params.beta_fast = block.value("beta_fast", params.beta_fast);
  params.beta_slow = block.value("beta_slow", params.beta_slow);
  params.mscale = block.value("mscale", params.mscale);
  params.mscale_all_dim = block.value("mscale_all_dim", params.mscale_all_dim);
  return params;
}

// An absent or null number counts as 0.
size_t count_or_zero(const Json& config, const char* key) {
  return config.contains(key) && config.at(key).is_number() ? config.at(key).get<size_t>() : 0;
}

}  // namespace

std::map<std::string, RawTensor> read_safetensors(const std::filesystem::path& file) {
  const std::string bytes = read_file(file);
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), sizeof header_bytes);
  const Json header = Json::parse(bytes.substr(sizeof header_bytes, header_bytes));
  const std::string data = bytes.substr(sizeof header_bytes + header_bytes);
  std::map<std::string, RawTensor> tensors;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    const size_t begin = entry.at("data_offsets").at(0).get<size_t>();
    const size_t end = entry.at("data_offsets").at(1).get<size_t>();
    RawTensor raw;
    raw.dtype = entry.at("dtype").get<std::string>();
    raw.shape = entry.at("shape").get<std::vector<size_t>>();
    const std::string part = data.substr(begin, end - begin);
    raw.bytes.assign(part.begin(), part.end());
    tensors.emplace(name, std::move(raw));
  }
  return tensors;
}

ReferenceTensor to_reference(const RawTensor& raw) {
  const auto as_double = [](auto value) { return static_cast<double>(value); };
  const auto from_bf16 = [](uint16_t bits) { return static_cast<double>(bf16_to_float(bits)); };
  const auto from_f16 = [](uint16_t bits) { return static_cast<double>(f16_to_float(bits)); };
  if (raw.dtype == "BF16") return {raw.shape, converted<uint16_t>(raw, from_bf16)};
  if (raw.dtype == "F16") return {raw.shape, converted<uint16_t>(raw, from_f16)};
  if (raw.dtype == "F32") return {raw.shape, converted<float>(raw, as_double)};
  if (raw.dtype == "F64") return {raw.shape, converted<double>(raw, as_double)};
  if (raw.dtype == "I32") return {raw.shape, converted<int32_t>(raw, as_double)};
  if (raw.dtype == "I64") return {raw.shape, converted<int64_t>(raw, as_double)};
  fail(Status::kUnsupported, "the oracle does not read dtype ", raw.dtype);
}

std::map<std::string, ReferenceTensor> read_checkpoint(const std::filesystem::path& folder) {
  std::map<std::string, RawTensor> all;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.rfind("model", 0) != 0 || entry.path().extension() != ".safetensors") continue;
    all.merge(read_safetensors(entry.path()));
  }
  const std::string scale_suffix = "_scale_inv";
  std::map<std::string, ReferenceTensor> tensors;
  for (const auto& [name, raw] : all) {
    if (name.size() > scale_suffix.size() && name.ends_with(scale_suffix)) continue;
    tensors[name] = raw.dtype == "F8_E4M3" ? dequantized(name, raw, all) : to_reference(raw);
  }
  return tensors;
}

ReferenceConfig read_config(const std::filesystem::path& config_json) {
  const Json json = Json::parse(read_file(config_json));
  ReferenceConfig config;
  config.model_type = json.at("model_type").get<std::string>();
  config.vocab_size = json.at("vocab_size").get<size_t>();
  config.hidden_size = json.at("hidden_size").get<size_t>();
  config.num_hidden_layers = json.at("num_hidden_layers").get<size_t>();
  config.num_attention_heads = json.at("num_attention_heads").get<size_t>();
  config.q_lora_rank = count_or_zero(json, "q_lora_rank");
  config.kv_lora_rank = json.at("kv_lora_rank").get<size_t>();
  config.qk_nope_head_dim = json.at("qk_nope_head_dim").get<size_t>();
  config.qk_rope_head_dim = json.at("qk_rope_head_dim").get<size_t>();
  config.v_head_dim = json.at("v_head_dim").get<size_t>();
  config.n_routed_experts = count_or_zero(json, "n_routed_experts");
  config.num_experts_per_tok = count_or_zero(json, "num_experts_per_tok");
  config.n_shared_experts = count_or_zero(json, "n_shared_experts");
  config.first_k_dense_replace = count_or_zero(json, "first_k_dense_replace");
  config.moe_layer_freq = json.value("moe_layer_freq", size_t{1});
  config.n_group = json.value("n_group", size_t{1});
  config.topk_group = json.value("topk_group", size_t{1});
  config.norm_topk_prob = json.value("norm_topk_prob", true);
  config.routed_scaling_factor = json.value("routed_scaling_factor", 1.0);
  config.rms_norm_eps = json.value("rms_norm_eps", 1e-6);
  config.rotary = read_rope(json);
  return config;
}

ReferenceModel load_reference_model(const std::filesystem::path& folder) {
  return {read_config(folder / "config.json"), read_checkpoint(folder)};
}

Golden read_golden(const std::filesystem::path& folder) {
  const std::map<std::string, RawTensor> tensors = read_safetensors(folder / "golden.safetensors");
  Golden golden;
  golden.tokens = elements_of<int32_t>(tensors.at("tokens"));
  golden.logits = to_reference(tensors.at("logits_f32")).values;
  golden.router_margin = to_reference(tensors.at("router_margin")).values;
  const auto bf16 = tensors.find("bf16_rel_l2");
  if (bf16 != tensors.end()) golden.bf16_rel_l2 = to_reference(bf16->second).values;
  return golden;
}

}  // namespace dsv3::reference
