// From a checkpoint's tensors to the model's weights: checked against the manifest first, then
// bound in place or streamed into device memory, piece by piece, so that a load can be cut
// anywhere.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/allocator.h"
#include "checkpoint/checkpoint.h"
#include "model/weights.h"
#include "ops/device.h"

namespace dsv3 {

struct WeightLoadOptions {
  // Use mapped tensors in place, on devices that read host memory; false: copy into own memory.
  bool map = true;
  bool scan_values = false;  // read every F8 weight and refuse NaN bytes (spec §6.3.8)
};

// Weights that are used where the source has mapped them: no byte twice, ascending by address.
using MappedRanges = std::vector<std::span<const std::byte>>;

struct WeightBytes {
  uint64_t mapped = 0;  // used in place
  uint64_t copied = 0;  // device memory
};

class WeightLoader {
 public:
  // Finds and checks every tensor of the manifest by header alone: INVALID_MODEL naming tensor,
  // file, found and wanted. All outlive the loader and stay in place.
  WeightLoader(Checkpoint& checkpoint, Device& device, const ModelConfig& config,
               ModelWeights& weights, const WeightLoadOptions& options);

  WeightBytes bytes() const { return bytes_; }
  // Activations are F32 for checkpoints stored in F32 or F16, else BF16 (docs/decisions/0002).
  DType activation_dtype() const;

  // Takes the memory of copied weights, which the caller keeps as long as the weights and frees
  // when the device has come to rest. Empty when all are mapped. OUT_OF_MEMORY or LIMIT.
  Block reserve();
  // Loads at least one piece (at most 8 MiB of copying); true when every weight is in place.
  bool step();

  // When every weight is in place: those that are mapped, neighbours as one.
  MappedRanges mapped_ranges() const;

  uint64_t bytes_done() const { return bytes_done_; }
  uint64_t bytes_total() const { return bytes_.mapped + bytes_.copied; }

 private:
  struct Item {
    WeightRequest request;
    const TensorEntry* tensor = nullptr;
    const TensorEntry* scales = nullptr;  // F8E4M3 only
    bool in_place = false;
    bool copy_scales = false;  // of a tensor in place: they lie misaligned
    uint64_t own_bytes = 0;    // of memory_
  };

  Item check(WeightRequest request) const;
  std::string where(const TensorEntry& entry) const;  // "model.safetensors: tensor lm_head.weight"
  [[noreturn]] void fail_missing(const WeightRequest& request) const;
  void plan_bytes(Item& item);
  bool is_aligned(const TensorEntry& entry) const;
  void bind_in_place(const Item& item);
  Weight place(const Item& item) const;
  bool stream_piece(const Item& item);
  std::vector<float> read_scales(const Item& item) const;
  TensorView scales_in_place(const Item& item);
  void convert(const Item& item);
  void check_scales(const Item& item, const float* scales) const;
  bool block_has_nonzero(const TensorEntry& tensor, uint64_t row, uint64_t col) const;
  void check_no_nan(const TensorEntry& tensor, const std::byte* bytes, uint64_t begin,
                    uint64_t count) const;

  Checkpoint& checkpoint_;
  Device& device_;
  const WeightLoadOptions options_;
  ModelWeights& weights_;
  const bool tied_head_;
  std::vector<Item> items_;
  WeightBytes bytes_;
  std::byte* memory_ = nullptr;   // of copied weights
  std::vector<std::byte> piece_;  // what was read last, on its way to the device

  // Progress.
  size_t item_index_ = 0;
  uint64_t memory_used_ = 0;  // by finished items
  uint64_t item_copied_ = 0;  // bytes of the current item's tensor streamed so far
  uint64_t bytes_done_ = 0;
};

}  // namespace dsv3
