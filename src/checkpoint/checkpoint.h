// A model's tensors by name, checked and ready to be mapped or read; and its small text files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/view.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/source.h"

namespace dsv3 {

// Immutable once open; every function may be called from several threads.
class Checkpoint {
 public:
  class Opener;

  // Opens model.safetensors.index.json and its shards, else model.safetensors, reading headers
  // only. INVALID_MODEL, LIMIT or IO naming the file and the tensor; no partial result.
  static std::unique_ptr<Checkpoint> open(std::unique_ptr<FileSource> source,
                                          const CheckpointLimits& limits = {});

  std::span<const TensorEntry> tensors() const { return tensors_; }  // by name
  const TensorEntry* find(std::string_view name) const;              // null when absent
  std::span<const std::string> files() const { return file_names_; }
  uint64_t bytes_total() const { return bytes_total_; }  // of all tensors
  std::string description() const { return source_->description(); }

  // A small file of the same source, such as config.json. Empty when absent; LIMIT when it is
  // larger than bytes_max.
  std::optional<std::string> text_file(const std::string& name, uint64_t bytes_max) const;

  // Below, `entry` comes from find() or tensors() of this checkpoint.
  // True when the source maps every file (so map_tensor works); Error{IO} when mapping fails.
  bool can_map() const;
  // In place, valid while the Checkpoint lives, unaligned. UNSUPPORTED: the source cannot map, or
  // the tensor has an unknown dtype or more than kRankMax dimensions.
  TensorView map_tensor(const TensorEntry& entry) const;
  // Copies entry.bytes bytes. Same UNSUPPORTED for dtype and dimensions.
  void read_tensor(const TensorEntry& entry, std::byte* out) const;
  // Copies [offset, offset + bytes) of the tensor.
  void read_tensor_range(const TensorEntry& entry, uint64_t offset, std::byte* out,
                         uint64_t bytes) const;
  // Hint: the tensor will be read soon.
  void will_need(const TensorEntry& entry) const;

 private:
  Checkpoint() = default;
  void want_usable(const TensorEntry& entry) const;

  std::unique_ptr<FileSource> source_;
  std::vector<std::string> file_names_;
  std::vector<std::unique_ptr<SourceFile>> files_;  // parallel to file_names_
  std::vector<TensorEntry> tensors_;                // sorted by name
  uint64_t bytes_total_ = 0;
};

// The same in slices: the index, then one shard a step.
class Checkpoint::Opener {
 public:
  explicit Opener(std::unique_ptr<FileSource> source, const CheckpointLimits& limits = {});
  ~Opener();
  Opener(const Opener&) = delete;
  Opener& operator=(const Opener&) = delete;

  // One slice of work; true when finish() may be called. After an error only destruction is
  // allowed.
  bool step();
  uint64_t steps_done() const { return steps_done_; }
  uint64_t steps_total() const;  // 1 until the index is read
  // For text_file() before the tensors are open; valid until finish().
  const Checkpoint& checkpoint() const { return *checkpoint_; }
  std::unique_ptr<Checkpoint> finish();

 private:
  void read_index(const std::string& text);
  void open_shard(uint32_t file);
  void close();

  const CheckpointLimits limits_;
  std::unique_ptr<Checkpoint> checkpoint_;
  bool has_index_ = false;
  std::vector<std::vector<std::string>> wanted_;  // names the index maps to each file, sorted
  uint64_t steps_done_ = 0;
  bool done_ = false;
};

}  // namespace dsv3
