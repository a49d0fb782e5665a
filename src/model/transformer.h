// The network, written once: embed, blocks, final norm, head, as a flat list of segments (design
// §4).
#pragma once

#include <span>
#include <vector>

#include "model/activations.h"
#include "model/config.h"
#include "model/decode_recordings.h"
#include "model/expert_tables.h"
#include "model/ffn.h"
#include "model/latent_cache.h"
#include "model/mla.h"
#include "model/pass.h"
#include "model/pass_input.h"
#include "model/pass_results.h"
#include "model/weights.h"
#include "ops/device.h"
#include "ops/ops.h"

namespace dsv3 {

// All outlive the Transformer. `ops` computes attention and dense parts, `expert_ops` the routed
// experts: usually the same object.
struct TransformerParts {
  Device& device;
  Ops& ops;
  Ops& expert_ops;
  const ModelConfig& config;
  const ModelWeights& weights;
};

// What a Transformer takes, by tier (bytes).
struct TransformerBytes {
  uint64_t cache = 0;
  uint64_t activations = 0;
  uint64_t scratch = 0;  // the Ops' own
  uint64_t host = 0;     // staging for a device that reads no host memory
};

class Transformer final : public PassModel {
 public:
  // Takes cache, activations and scratch now; no pass allocates. The weights may be loaded later.
  // OUT_OF_MEMORY or LIMIT.
  Transformer(const TransformerParts& parts, const PassLimits& limits, DType act,
              DType cache_dtype);
  ~Transformer() override;

  static TransformerBytes bytes(const Device& device, const ModelConfig& config, const Ops& ops,
                                const PassLimits& limits, DType act, DType cache_dtype);

  // Once all weights are loaded and before the first pass: one slice of getting ready, true when
  // nothing is left. On a device that runs passes ahead it touches every kernel and records the
  // small decode passes.
  bool prepare();

  const PassLimits& limits() const override { return limits_; }
  uint32_t passes_ahead() const override { return parts_.device.passes_ahead(); }
  void begin(const PassInput& input) override;
  // Embedding, two per layer (attention, feed-forward), head: 2 L + 2. On a device that runs passes
  // ahead, and without in_slices, 1.
  uint32_t segment_count() const override;
  void run_segment(uint32_t index) override;
  std::span<const SampleResult> wait_results() override;
  void logits(uint32_t slot, std::span<float> out) override;

  // Step thread, no pass in flight. Tokens each expert got since load, [layers, E]; zero rows for
  // dense layers.
  std::vector<uint64_t> expert_tokens();
  // Router logits that were NaN since load: a sign of broken weights.
  uint32_t nan_count();

 private:
  uint32_t part_count() const { return 2 * parts_.config.layers + 2; }
  void run_part(uint32_t index);
  void run_whole();
  void embed();
  void attention_part(uint32_t layer);
  void ffn_part(uint32_t layer);
  void head();
  void store_last_rows();
  void send_constants();
  void zero_counters();
  void touch_kernels();
  void record_decode(uint32_t rows);

  const TransformerParts parts_;
  const PassLimits limits_;
  LatentCache cache_;
  Block block_;
  Activations buffers_;
  ExpertTables expert_tables_;
  PassStaging staging_;
  PassResults results_;
  std::vector<Mla> mla_;
  DecodeRecordings recordings_;
  bool is_prepared_ = false;

  // The pass that was begun last.
  PassContext pass_;
  bool in_slices_ = true;
};

}  // namespace dsv3
