// From a checkpoint's tensors to the model's weights: checked against the manifest first, then
// bound in place or copied, tensor by tensor, so that a load can be cut anywhere.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/allocator.h"
#include "checkpoint/checkpoint.h"
#include "model/weights.h"
#include "ops/device.h"

namespace dsv3 {

struct WeightLoadOptions {
  bool map = true;           // use mapped tensors in place; false: copy into own memory
  bool scan_values = false;  // read every F8 weight and refuse NaN bytes (spec §6.3.8)
};

struct WeightBytes {
  uint64_t mapped = 0;  // used in place
  uint64_t copied = 0;  // own memory
};

class WeightLoader {
 public:
  // Finds and checks every tensor of the manifest by header alone: INVALID_MODEL naming tensor,
  // file, found and wanted. `checkpoint` and `weights` outlive the loader and stay in place.
  WeightLoader(Checkpoint& checkpoint, const ModelConfig& config, ModelWeights& weights,
               const WeightLoadOptions& options);

  WeightBytes bytes() const { return bytes_; }
  // Activations are F32 for checkpoints stored in F32 or F16, else BF16 (docs/decisions/0002).
  DType activation_dtype() const;

  // Takes the memory of copied weights. OUT_OF_MEMORY or LIMIT.
  void reserve(Device& device);
  // Loads at least one piece (at most 8 MiB of copying); true when every weight is in place.
  bool step(Device& device);

  uint64_t bytes_done() const { return bytes_done_; }
  uint64_t bytes_total() const { return bytes_.mapped + bytes_.copied; }

  // The memory of copied weights, to be kept as long as the weights. Empty when all are mapped.
  Block take_memory() { return std::move(memory_); }

 private:
  struct Item {
    WeightRequest request;
    const TensorEntry* tensor = nullptr;
    const TensorEntry* scales = nullptr;  // F8E4M3 only
    bool copy_tensor = false;
    bool copy_scales = false;
    uint64_t own_bytes = 0;  // of memory_, 64-byte aligned pieces
  };

  Item check(WeightRequest request) const;
  std::string where(const TensorEntry& entry) const;  // "model.safetensors: tensor lm_head.weight"
  [[noreturn]] void fail_missing(const WeightRequest& request) const;
  void plan_bytes(Item& item);
  bool copy_piece(const Item& item);
  void bind(Device& device, const Item& item);
  TensorView view(const TensorEntry& entry, bool copied, uint64_t own_offset) const;

  Checkpoint& checkpoint_;
  const WeightLoadOptions options_;
  ModelWeights& weights_;
  const bool tied_head_;
  std::vector<Item> items_;
  WeightBytes bytes_;
  Block memory_;

  // Progress.
  size_t item_index_ = 0;
  uint64_t memory_used_ = 0;  // by finished items
  uint64_t item_copied_ = 0;  // bytes of the current item's tensor copied so far
  uint64_t bytes_done_ = 0;
};

}  // namespace dsv3
