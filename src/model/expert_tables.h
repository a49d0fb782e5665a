// Where ops find the experts of each layer: the model's own vectors, or their copy in the memory of
// a device that cannot read them.
#pragma once

#include <cstdint>
#include <vector>

#include "base/allocator.h"
#include "model/weights.h"
#include "ops/device.h"

namespace dsv3 {

class ExpertTables {
 public:
  // Takes memory only. `weights` outlives the tables and need not be loaded yet.
  ExpertTables(Device& device, const ModelConfig& config, const ModelWeights& weights);

  static uint64_t bytes(const Device& device, const ModelConfig& config);

  // Sends every table; all weights are loaded.
  void send(Device& device);
  const ExpertWeights* layer(uint32_t index) const;  // [E]; null for a dense layer

 private:
  const ModelWeights& weights_;
  const uint32_t experts_;
  Block block_;  // [MoE layers][E]; empty where ops read host memory
  std::vector<uint32_t> table_of_layer_;
};

}  // namespace dsv3
