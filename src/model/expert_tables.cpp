#include "model/expert_tables.h"

#include "base/checked.h"

namespace dsv3 {

ExpertTables::ExpertTables(Device& device, const ModelConfig& config, const ModelWeights& weights)
    : weights_(weights), experts_(config.router.experts), table_of_layer_(config.layers) {
  const uint64_t total = bytes(device, config);
  if (total != 0) block_ = device.allocate(total, "expert tables");
  uint32_t next = 0;
  for (uint32_t i = 0; i < config.layers; ++i) {
    table_of_layer_[i] = config.is_moe_layer(i) ? next++ : 0;
  }
}

uint64_t ExpertTables::bytes(const Device& device, const ModelConfig& config) {
  if (device.reads_host_memory()) return 0;
  uint64_t tables = 0;
  for (uint32_t i = 0; i < config.layers; ++i) tables += config.is_moe_layer(i) ? 1 : 0;
  return tables * config.router.experts * sizeof(ExpertWeights);
}

void ExpertTables::send(Device& device) {
  if (block_.bytes() == 0) return;
  for (uint32_t i = 0; i < weights_.layers.size(); ++i) {
    const LayerWeights& layer_weights = weights_.layers[i];
    if (!layer_weights.is_moe) continue;
    const uint64_t bytes = uint64_t{experts_} * sizeof(ExpertWeights);
    std::byte* const table = block_.data() + table_of_layer_[i] * bytes;
    device.copy_to_device(table, layer_weights.moe.experts.data(), bytes);
  }
  device.synchronize();
}

const ExpertWeights* ExpertTables::layer(uint32_t index) const {
  const LayerWeights& layer_weights = weights_.layers[index];
  if (!layer_weights.is_moe) return nullptr;
  if (block_.bytes() == 0) return layer_weights.moe.experts.data();
  return reinterpret_cast<const ExpertWeights*>(block_.data()) +
         uint64_t{table_of_layer_[index]} * experts_;
}

}  // namespace dsv3
