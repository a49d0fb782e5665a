// How long does a library take to load a model, to compute prompts and to decode? One loaded
// context and the groups of sequences that are timed in it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "library.h"

namespace dsv3::bench {

struct SessionOptions {
  std::string model;
  std::string device = "cpu";
  int ordinal = 0;
  uint32_t threads = 0;  // 0 = one per processor
  int32_t cpu_level = DSV3_CPU_LEVEL_BEST;
  int32_t cache_dtype = DSV3_DTYPE_AUTO;
  int32_t activation_quant = DSV3_ACTIVATION_QUANT_NONE;
  int32_t determinism = DSV3_DETERMINISM_STRICT;
  int32_t weights = DSV3_WEIGHTS_MAP;
  uint32_t step_tokens = 512;
  uint32_t sequences = 1;     // at once, at most
  uint64_t cache_tokens = 0;  // of all of them
};

class Session {
 public:
  // Loads; throws Error with the library's message.
  Session(const Library& library, const SessionOptions& options);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  double load_seconds() const { return load_seconds_; }
  const dsv3_info& info() const { return info_; }
  const SessionOptions& options() const { return options_; }

  // Replaces the group: `count` empty sequences, whose prompts differ from one another and are the
  // same for every group.
  void begin_group(uint32_t count);
  // Appends `tokens` to each sequence of the group and computes them, with one token drawn at the
  // end of each. Seconds.
  double prefill(uint32_t tokens);
  // Generates `tokens` for each sequence and one before, which is not timed. Seconds of all;
  // `step_seconds`, if there, gets each step's. Needs tokens in the sequences.
  double decode(uint32_t tokens, std::vector<double>* step_seconds = nullptr);
  // Tokens in each sequence of the group.
  uint64_t position() const;
  // What the group has drawn so far, sequence by sequence.
  std::vector<std::vector<int32_t>> drawn() const;

 private:
  struct Lane {
    dsv3_sequence id = 0;
    uint64_t appended = 0;
    uint64_t wanted = 0;  // of the generation that runs
    uint64_t got = 0;
    int32_t status = 0;
    std::vector<int32_t> tokens;
  };
  static int32_t on_event(void* user_data, const dsv3_event* event);
  void want(dsv3_status status, uint64_t sequence = 0) const;
  void start(uint64_t tokens);
  bool all_got(uint64_t tokens) const;
  void step();
  void end_group();

  const Library library_;
  const SessionOptions options_;
  dsv3_context* context_ = nullptr;
  dsv3_info info_{};
  double load_seconds_ = 0.0;
  std::vector<Lane> lanes_;
};

}  // namespace dsv3::bench
