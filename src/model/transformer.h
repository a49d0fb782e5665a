// The network, written once: embed, blocks, final norm, head, as a flat list of segments (design
// §4).
#pragma once

#include <span>
#include <vector>

#include "model/activations.h"
#include "model/config.h"
#include "model/ffn.h"
#include "model/latent_cache.h"
#include "model/mla.h"
#include "model/pass.h"
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
};

class Transformer final : public PassModel {
 public:
  // Takes cache, activations and scratch now; no pass allocates. OUT_OF_MEMORY or LIMIT.
  Transformer(const TransformerParts& parts, const PassLimits& limits, DType act,
              DType cache_dtype);

  static TransformerBytes bytes(const ModelConfig& config, const Ops& ops, const PassLimits& limits,
                                DType act, DType cache_dtype);

  const PassLimits& limits() const override { return limits_; }
  void begin(const PassInput& input) override;
  // Embedding, two per layer (attention, feed-forward), head: 2 L + 2.
  uint32_t segment_count() const override;
  void run_segment(uint32_t index) override;
  std::span<const SampleResult> results() const override;
  void logits(uint32_t slot, std::span<float> out) override;

  // Tokens each expert got since load, [layers, E]; zero rows for dense layers.
  std::span<const uint64_t> expert_tokens() const;
  // Router logits that were NaN since load: a sign of broken weights.
  uint32_t nan_count() const { return *buffers_.nan_count; }

 private:
  void add_span(const PassSpan& span);
  void embed();
  void attention_part(uint32_t layer);
  void ffn_part(uint32_t layer);
  void head();
  void store_last_rows();

  const TransformerParts parts_;
  const PassLimits limits_;
  const std::vector<float> inv_freq_;
  LatentCache cache_;
  Block block_;
  Activations buffers_;
  std::vector<Mla> mla_;

  // The pass in flight.
  PassContext pass_;
  uint32_t last_count_ = 0;  // slots whose h this pass updates
  uint32_t sample_count_ = 0;
};

}  // namespace dsv3
