// How does a test get a Hugging Face folder into the oracle? An independent small reader: it trusts
// its files (they are our fixtures) and only checks what would give a silently wrong answer.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "reference/reference_model.h"

namespace dsv3::reference {

struct RawTensor {
  std::string dtype;  // the safetensors name
  std::vector<size_t> shape;
  std::vector<uint8_t> bytes;
};

// Every tensor of one safetensors file.
std::map<std::string, RawTensor> read_safetensors(const std::filesystem::path& file);

// BF16, F16, F32, F64, I32 and I64 elements as doubles.
ReferenceTensor to_reference(const RawTensor& raw);

// The tensors of all shards of a folder (model*.safetensors), FP8 dequantised with its
// weight_scale_inv, whichever shard holds it.
std::map<std::string, ReferenceTensor> read_checkpoint(const std::filesystem::path& folder);

ReferenceConfig read_config(const std::filesystem::path& config_json);

ReferenceModel load_reference_model(const std::filesystem::path& folder);

struct Golden {
  std::vector<int32_t> tokens;  // [T]
  Values logits;                // [T, V], the float32 run of the published implementation
  Values bf16_rel_l2;           // [T], its bfloat16 run against that; empty for F32 models
  Values router_margin;         // [T]
};
Golden read_golden(const std::filesystem::path& folder);

}  // namespace dsv3::reference
