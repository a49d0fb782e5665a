#include "model_facts.h"

#include <filesystem>
#include <memory>

#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "dsv3.h"

namespace dsv3::bench {
namespace {

constexpr uint64_t kConfigBytesMax = 1u << 20;

DType dtype_of(const Checkpoint& checkpoint, const std::string& name, DType missing) {
  const TensorEntry* const entry = checkpoint.find(name);
  return entry != nullptr && entry->dtype ? *entry->dtype : missing;
}

std::string short_name(DType dtype) {
  switch (dtype) {
    case DType::kBF16:
      return "bf16";
    case DType::kF8E4M3:
      return "f8 blocks";
    case DType::kF32:
      return "f32";
    case DType::kF16:
      return "f16";
    default:
      return std::string(dtype_name(dtype));
  }
}

}  // namespace

std::string ModelFacts::dtype() const { return short_name(projection); }

StoredBytes ModelFacts::stored(int32_t cache_dtype) const {
  const bool is_f8 = projection == DType::kF8E4M3;
  StoredBytes stored = stored_bytes(config, is_f8, cache_dtype == DSV3_DTYPE_F8_E4M3);
  stored.plain = dtype_bits(plain) / 8.0;
  if (!is_f8) stored.projection = dtype_bits(projection) / 8.0;
  if (cache_dtype == DSV3_DTYPE_F32) stored.latent_row *= 2.0;
  return stored;
}

ModelFacts read_model_facts(const std::string& folder) {
  const std::unique_ptr<Checkpoint> checkpoint =
      Checkpoint::open(std::make_unique<FolderSource>(folder, true));
  const auto config_json = checkpoint->text_file("config.json", kConfigBytesMax);
  if (!config_json) fail(Status::kInvalidModel, folder, " has no config.json");
  const auto generation_json = checkpoint->text_file("generation_config.json", kConfigBytesMax);
  ModelFacts facts;
  facts.folder = folder;
  std::filesystem::path path = std::filesystem::path(folder).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  facts.name = path.filename().string();
  facts.config = parse_model_config(*config_json, generation_json.value_or(""));
  facts.plain = dtype_of(*checkpoint, "model.embed_tokens.weight", DType::kBF16);
  facts.projection = dtype_of(*checkpoint, "model.layers.0.self_attn.o_proj.weight", facts.plain);
  return facts;
}

}  // namespace dsv3::bench
