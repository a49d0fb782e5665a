// The shipped model in memory, and seeded ways to break one file of it.
#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "dsv3.h"

namespace dsv3::test {

enum class DamageKind : uint8_t {
  kNone,
  kConfig,  // config.json: bytes and JSON
  kGenerationConfig,
  kHeader,        // the safetensors header: bytes and JSON, with a length that fits it
  kHeaderLength,  // its length field
  kTokenizer,
  kTokenizerConfig,
  kTensorData,    // any bytes of the weights
  kSmallTensors,  // single values of scales, router biases and norms
  kWholeFiles,    // missing, empty, swapped, cut, with more behind, with an index beside
  kMisaligned,    // unchanged, at an odd address
};

// Files whole, as bytes; loaded once.
class SampleModel {
 public:
  struct Range {
    uint64_t begin = 0;  // in model.safetensors
    uint64_t end = 0;
    bool is_f32 = false;  // else BF16
  };

  static const SampleModel& instance();

  const std::map<std::string, std::string>& files() const { return files_; }
  const std::string& weights() const { return files_.at("model.safetensors"); }
  uint64_t header_bytes() const { return header_bytes_; }
  const std::vector<Range>& small_tensors() const { return small_tensors_; }

 private:
  SampleModel();

  std::map<std::string, std::string> files_;
  uint64_t header_bytes_ = 0;
  std::vector<Range> small_tensors_;
};

// One broken copy. Every changed file lies in a block of exactly its size, so that a read behind
// its end is seen by the sanitizers.
class Damage {
 public:
  Damage(const SampleModel& model, DamageKind kind, uint64_t seed);
  Damage(const Damage&) = delete;
  Damage& operator=(const Damage&) = delete;

  const std::vector<dsv3_file>& files() const { return files_; }
  const std::string& description() const { return description_; }

 private:
  uint64_t below(uint64_t end) { return random_() % end; }
  void note(const std::string& what) { description_ += (description_.empty() ? "" : ", ") + what; }
  void set_file(const std::string& name, const std::string& content);
  std::vector<char>& set_weights(const std::vector<std::string_view>& parts);
  void remove_file(const std::string& name);

  // Bytes.
  void cut(std::string& text);
  void flip_bits(char* bytes, uint64_t begin, uint64_t end);
  void splice(std::string& text);
  // JSON.
  void edit(std::string& text);
  void replace_number(std::string& text);
  void replace_string(std::string& text);
  void swap_strings(std::string& text);
  void move_member(std::string& text);
  void nest(std::string& text);

  void damage_text(const SampleModel& model, const std::string& name);
  void damage_header(const SampleModel& model);
  void damage_header_length(const SampleModel& model);
  void damage_small_tensors(const SampleModel& model);
  void damage_whole_files(const SampleModel& model);
  void misalign(const SampleModel& model, uint64_t offset);

  std::mt19937_64 random_;
  std::map<std::string, std::vector<char>> changed_;
  std::vector<dsv3_file> files_;
  std::string description_;
};

}  // namespace dsv3::test
