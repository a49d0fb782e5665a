// One pass of the engine from its plan to its results: who is in it, and with what?
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "engine/sequence.h"
#include "engine/types.h"

namespace dsv3 {

// Owned by the step thread. What the model reads of a pass is in PassDraft, and over with begin().
struct RunningPass {
  struct Entry {
    SequenceId sequence = 0;
    uint64_t generation = 0;  // serial; 0 = prefill without a generation
    uint32_t row_begin = 0;   // position of its first row
    uint32_t row_count = 0;
    uint32_t pages_new = 0;  // taken for it: at the end of the sequence's page table
    int32_t draw = -1;       // index into the results; -1 = no token is drawn
    bool is_void = false;    // nothing of it will be committed
  };

  bool is_active = false;
  bool is_ahead = false;  // planned on top of a pass whose results were not known
  bool in_slices = false;
  uint32_t segment = 0;  // the next one
  uint32_t row_count = 0;
  uint64_t begun_us = 0;
  uint64_t busy_us = 0;            // in segments and in waiting for the results
  uint64_t segment_us_wanted = 0;  // of the budget it was planned under; 0 = any
  uint64_t segment_us_max = 0;     // the head left out: it does not grow with the chunk
  std::vector<Entry> entries;

  // No pass any more; keeps its memory.
  void clear() {
    std::vector<Entry> kept = std::move(entries);
    kept.clear();
    *this = RunningPass();
    entries = std::move(kept);
  }
};

// Does the generation still run for which the entry was planned?
inline bool is_of_current(const RunningPass::Entry& entry, const Sequence& sequence) {
  return sequence.is_running() && sequence.generation.serial == entry.generation;
}

}  // namespace dsv3
