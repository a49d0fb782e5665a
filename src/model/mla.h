// Multi-head latent attention of one layer, in the paper's order (spec §2.2, §2.5).
#pragma once

#include "model/activations.h"
#include "model/config.h"
#include "model/pass_input.h"
#include "model/weights.h"
#include "ops/ops.h"

namespace dsv3 {

// What every layer of one pass shares.
struct PassContext {
  PassArrays in;
  Activations* buffers = nullptr;
};

class Mla {
 public:
  // `inv_freq` [dr/2], device memory, outlives the Mla.
  Mla(const ModelConfig& config, const MlaWeights& weights, const float* inv_freq);

  // buffers.x [T, H] -> buffers.h [T, H]; appends the batch to `pages`.
  void forward(Ops& ops, const PassContext& pass, const LatentPages& pages) const;

 private:
  void project(Ops& ops, const PassContext& pass) const;

  const ModelConfig& config_;
  const MlaWeights& weights_;
  Rope rope_;
  float scale_;
};

}  // namespace dsv3
