// A model from its files, in slices: open headers, read config, check the manifest, take the memory
// of passes, bind or stream weights, get ready for the first pass. Everything a context needs of a
// checkpoint comes out as one LoadedModel.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/allocator.h"
#include "base/clock.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/source.h"
#include "model/config.h"
#include "model/transformer.h"
#include "model/weight_loader.h"
#include "model/weights.h"
#include "ops/device.h"
#include "ops/ops.h"

namespace dsv3 {

struct ModelSizes {
  uint32_t slots = 16;               // sequences that may exist at once
  uint32_t rows_max = 512;           // tokens of one pass
  uint32_t positions_max = 0;        // context length; 0 = the model's, cut to the cache
  uint64_t cache_tokens = 0;         // room of all sequences together; 0 = see cache_bytes
  uint64_t cache_bytes = 0;          // with both 0: the context length or 8192 tokens, the smaller
  std::optional<DType> cache_dtype;  // F8E4M3 beside BF16 activations; unset = the activations'
};

struct ModelOptions {
  WeightLoadOptions weights;
  ModelSizes sizes;
  CheckpointLimits limits;
  uint64_t text_file_bytes_max = 64u << 20;  // tokenizer.json and its neighbours
};

// Bytes by tier, of device memory except where told. Mapped weights are pages of the file: they
// belong to the system's page cache.
struct MemoryPlan {
  uint64_t weights_mapped = 0;
  uint64_t weights_copied = 0;
  uint64_t cache = 0;
  uint64_t activations = 0;
  uint64_t scratch = 0;
  uint64_t host = 0;  // staging memory of a device that reads no host memory
  uint64_t own() const { return weights_copied + cache + activations + scratch; }
};

// Where a load stands, in bytes of weights.
struct LoadProgress {
  uint64_t bytes_done = 0;
  uint64_t bytes_total = 0;
  uint64_t bytes_mapped = 0;  // of the total; done as soon as they are bound
};

// Everything that came out of the files. Members in order of dependence; not movable.
struct LoadedModel {
  std::unique_ptr<Checkpoint> checkpoint;  // keeps the mappings
  ModelConfig config;
  GenerationDefaults defaults;
  ModelWeights weights;
  Block weight_memory;
  DType activation_dtype = DType::kBF16;
  DType cache_dtype = DType::kBF16;
  PassLimits limits;
  MemoryPlan plan;
  std::unique_ptr<Transformer> transformer;
  // Absent files are empty.
  std::string tokenizer_json;
  std::string tiktoken_model;  // read only where tokenizer.json is absent
  std::string tokenizer_config_json;
  std::string chat_template_jinja;
};

class ModelLoader {
 public:
  // `device`, `ops` and `clock` outlive the loader and the model. `ops` also computes the experts.
  struct Parts {
    Device& device;
    Ops& ops;
    Clock& clock;
  };

  ModelLoader(std::unique_ptr<FileSource> source, const ModelOptions& options, const Parts& parts);
  ~ModelLoader();

  // Everything that headers and config can answer, and nothing else is read or allocated for it.
  // INVALID_MODEL, UNSUPPORTED, IO, LIMIT.
  const MemoryPlan& plan();
  // Room of the cache in tokens, once plan() has answered.
  const PassLimits& limits() const { return model_->limits; }

  // Goes on for about `budget_us` (0 = to the end); true when the model is complete. On an error
  // the loader is spent: make a new one to try again.
  bool step(uint64_t budget_us);
  LoadProgress progress() const;
  // Of a complete model.
  MappedRanges mapped_ranges() const { return weights_->mapped_ranges(); }
  std::unique_ptr<LoadedModel> take();

 private:
  enum class Stage : uint8_t { kHeaders, kConfig, kPlan, kMemory, kWeights, kPrepare, kDone };
  void advance();
  void read_config();
  void make_plan();
  void take_memory();

  const ModelOptions options_;
  const Parts parts_;
  std::unique_ptr<Checkpoint::Opener> opener_;
  std::unique_ptr<LoadedModel> model_;
  std::unique_ptr<WeightLoader> weights_;
  Stage stage_ = Stage::kHeaders;
};

}  // namespace dsv3
