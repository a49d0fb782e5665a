// The paged MLA latent cache, [layers][pages], taken once at load; what a page holds stands at
// LatentPages (design §5).
#pragma once

#include <cstdint>

#include "base/allocator.h"
#include "model/config.h"
#include "ops/device.h"

namespace dsv3 {

class LatentCache {
 public:
  LatentCache() = default;
  LatentCache(Device& device, const ModelConfig& config, DType dtype, uint32_t page_count);

  // Bytes of all layers; Error{LIMIT} when they do not fit 64 bits.
  static uint64_t bytes(const ModelConfig& config, DType dtype, uint32_t page_count);

  LatentPages layer(uint32_t index) const;

 private:
  Block block_;
  LatentPages first_;  // layer 0
  uint64_t layer_bytes_ = 0;
};

}  // namespace dsv3
