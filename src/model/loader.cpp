#include "model/loader.h"

#include <algorithm>
#include <limits>

#include "base/checked.h"

namespace dsv3 {
namespace {

constexpr uint64_t kConfigBytesMax = 4u << 20;
constexpr uint64_t kDefaultCacheTokens = 8192;
constexpr uint64_t kPagesMax = std::numeric_limits<int32_t>::max();  // page numbers are int32

std::string text_or_empty(Checkpoint& checkpoint, const char* name, uint64_t bytes_max) {
  return checkpoint.text_file(name, bytes_max).value_or(std::string());
}

// Pages of the cache and the context length that fits it.
PassLimits make_limits(const ModelConfig& config, const ModelSizes& sizes, DType cache_dtype) {
  PassLimits limits;
  limits.rows_max = sizes.rows_max;
  limits.slots = sizes.slots;
  limits.vocab = config.vocab;
  uint32_t context = config.positions_max;
  if (sizes.positions_max != 0) context = std::min(context, sizes.positions_max);
  uint64_t tokens = sizes.cache_tokens;
  if (tokens == 0 && sizes.cache_bytes != 0) {
    const uint64_t page_bytes = LatentCache::bytes(config, cache_dtype, 1);
    tokens = sizes.cache_bytes / page_bytes * kPageTokens;
    if (tokens == 0) {
      fail(Status::kLimit, "cache_bytes is ", sizes.cache_bytes, ", wanted at least the ",
           page_bytes, " bytes of one page of ", kPageTokens, " tokens");
    }
  }
  if (tokens == 0) tokens = std::min<uint64_t>(context, kDefaultCacheTokens);
  const uint64_t pages = ceil_div<uint64_t>(tokens, kPageTokens);
  if (pages > kPagesMax) {
    fail(Status::kLimit, "cache_tokens or cache_bytes asks for ", pages, " pages of ", kPageTokens,
         " tokens, wanted at most ", kPagesMax);
  }
  limits.page_count = static_cast<uint32_t>(pages);
  const uint64_t room = uint64_t{limits.page_count} * kPageTokens;
  limits.positions_max = static_cast<uint32_t>(std::min<uint64_t>(context, room));
  // No pass can hold more new tokens than all sequences have room for.
  limits.rows_max = static_cast<uint32_t>(std::min<uint64_t>(limits.rows_max, room));
  return limits;
}

void check_cache_dtype(DType cache, DType act) {
  if (cache == act || (cache == DType::kF8E4M3 && act == DType::kBF16)) return;
  fail(Status::kUnsupported, "cache_dtype is ", dtype_name(cache), ", this model computes in ",
       dtype_name(act), ", wanted ", dtype_name(act), act == DType::kBF16 ? " or F8_E4M3" : "");
}

}  // namespace

ModelLoader::ModelLoader(std::unique_ptr<FileSource> source, const ModelOptions& options,
                         const Parts& parts)
    : options_(options),
      parts_(parts),
      opener_(std::make_unique<Checkpoint::Opener>(std::move(source), options.limits)),
      model_(std::make_unique<LoadedModel>()) {}

ModelLoader::~ModelLoader() = default;

const MemoryPlan& ModelLoader::plan() {
  while (stage_ < Stage::kMemory) advance();
  return model_->plan;
}

bool ModelLoader::step(uint64_t budget_us) {
  const uint64_t begin_us = parts_.clock.now_us();
  while (stage_ != Stage::kDone) {
    advance();
    if (budget_us != 0 && parts_.clock.now_us() - begin_us >= budget_us) break;
  }
  return stage_ == Stage::kDone;
}

void ModelLoader::advance() {
  switch (stage_) {
    case Stage::kHeaders:
      if (!opener_->step()) return;
      model_->checkpoint = opener_->finish();
      opener_.reset();
      stage_ = Stage::kConfig;
      return;
    case Stage::kConfig:
      read_config();
      stage_ = Stage::kPlan;
      return;
    case Stage::kPlan:
      make_plan();
      stage_ = Stage::kMemory;
      return;
    case Stage::kMemory:
      take_memory();
      stage_ = Stage::kWeights;
      return;
    case Stage::kWeights:
      if (!weights_->step()) return;
      stage_ = Stage::kPrepare;
      return;
    case Stage::kPrepare:
      if (model_->transformer->prepare()) stage_ = Stage::kDone;
      return;
    case Stage::kDone:
      return;
  }
}

void ModelLoader::read_config() {
  Checkpoint& checkpoint = *model_->checkpoint;
  const auto config = checkpoint.text_file("config.json", kConfigBytesMax);
  if (!config) fail(Status::kInvalidModel, "config.json is missing");
  const std::string generation =
      text_or_empty(checkpoint, "generation_config.json", kConfigBytesMax);
  model_->config = parse_model_config(*config, generation);
  model_->defaults = parse_generation_defaults(generation);
}

void ModelLoader::make_plan() {
  LoadedModel& model = *model_;
  weights_ = std::make_unique<WeightLoader>(*model.checkpoint, parts_.device, model.config,
                                            model.weights, options_.weights);
  model.activation_dtype = weights_->activation_dtype();
  model.cache_dtype = options_.sizes.cache_dtype.value_or(model.activation_dtype);
  check_cache_dtype(model.cache_dtype, model.activation_dtype);
  model.limits = make_limits(model.config, options_.sizes, model.cache_dtype);
  const TransformerBytes bytes =
      Transformer::bytes(parts_.device, model.config, parts_.ops, model.limits,
                         model.activation_dtype, model.cache_dtype);
  model.plan = {.weights_mapped = weights_->bytes().mapped,
                .weights_copied = weights_->bytes().copied,
                .cache = bytes.cache,
                .activations = bytes.activations,
                .scratch = bytes.scratch,
                .host = bytes.host};
}

// Memory first: a load that cannot fit fails before it has read a weight.
void ModelLoader::take_memory() {
  LoadedModel& model = *model_;
  model.weight_memory = weights_->reserve();
  model.transformer =
      std::make_unique<Transformer>(TransformerParts{.device = parts_.device,
                                                     .ops = parts_.ops,
                                                     .expert_ops = parts_.ops,
                                                     .config = model.config,
                                                     .weights = model.weights},
                                    model.limits, model.activation_dtype, model.cache_dtype);
  Checkpoint& checkpoint = *model.checkpoint;
  const uint64_t text_max = options_.text_file_bytes_max;
  model.tokenizer_json = text_or_empty(checkpoint, "tokenizer.json", text_max);
  if (model.tokenizer_json.empty()) {
    model.tiktoken_model = text_or_empty(checkpoint, "tiktoken.model", text_max);
  }
  model.tokenizer_config_json = text_or_empty(checkpoint, "tokenizer_config.json", text_max);
  model.chat_template_jinja = text_or_empty(checkpoint, "chat_template.jinja", text_max);
}

LoadProgress ModelLoader::progress() const {
  if (weights_ == nullptr) return {};
  return {.bytes_done = weights_->bytes_done(),
          .bytes_total = weights_->bytes_total(),
          .bytes_mapped = weights_->bytes().mapped};
}

std::unique_ptr<LoadedModel> ModelLoader::take() {
  DSV3_ASSERT(stage_ == Stage::kDone);
  return std::move(model_);
}

}  // namespace dsv3
