// What a pass reads: from the engine's PassInput to device memory, in one copy.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/allocator.h"
#include "model/pass.h"
#include "ops/device.h"

namespace dsv3 {

// One pass as the device sees it. Pointers are device memory; their places depend on the counts
// above them alone, so that a pass of equal counts finds its own contents behind the same pointers.
struct PassArrays {
  Batch batch;
  int32_t* tokens = nullptr;             // [rows] = batch.tokens, kDrawnToken not replaced yet
  const uint32_t* slots = nullptr;       // [rows]
  uint32_t last_count = 0;               // slots whose h the pass updates
  const uint32_t* last_rows = nullptr;   // [last_count] the row whose h goes to a slot ...
  const uint32_t* last_slots = nullptr;  // [last_count] ... and that slot
  uint32_t sample_count = 0;
  const uint32_t* sample_slots = nullptr;  // [sample_count]
  const SampleRow* sample_rows = nullptr;  // [sample_count]
  // Each row is one generated token of its own sequence, which draws the next: with `rows`, such a
  // pass's counts are all known.
  bool is_decode = false;
};

// Every token that passes have seen, by slot and position, in device memory.
struct TokenHistory {
  int32_t* tokens = nullptr;  // [slots, stride]
  uint64_t stride = 0;        // positions_max
};

// Bytes of memory that is the device's and of memory that the host fills. Where ops read host
// memory there is only the first.
struct StagedBytes {
  uint64_t device = 0;
  uint64_t host = 0;
};

// Page tables travel with every pass: 4 bytes for each 64 tokens of context, 8 KiB for 128K tokens,
// which costs less than keeping tables on the device in step with the engine's.
class PassStaging {
 public:
  PassStaging(Device& device, const PassLimits& limits, const TokenHistory& history);

  static StagedBytes bytes(const Device& device, const PassLimits& limits);

  // Checks the input against the limits (INTERNAL) and sends it. The result holds until the next
  // call; nothing of `input` is needed after this one.
  PassArrays send(const PassInput& input);

 private:
  // Elements of each array.
  struct Counts {
    uint64_t rows = 0;
    uint64_t spans = 0;
    uint64_t last = 0;
    uint64_t samples = 0;
    uint64_t pages = 0;
    uint64_t biases = 0;
    uint64_t mask_words = 0;
  };
  // The arrays, one after another: what varies between decode passes of equal rows comes last.
  struct Layout {
    int32_t* tokens = nullptr;
    uint32_t* positions = nullptr;
    uint32_t* slots = nullptr;
    uint32_t* row_spans = nullptr;
    BatchSpan* spans = nullptr;
    uint32_t* last_rows = nullptr;
    uint32_t* last_slots = nullptr;
    uint32_t* sample_slots = nullptr;
    SampleRow* sample_rows = nullptr;
    int32_t* pages = nullptr;
    LogitBias* biases = nullptr;
    uint32_t* mask_words = nullptr;
    static Layout carve(Carver& carver, const Counts& counts);
  };
  // One slot's page table within Layout::pages of the current pass.
  struct SlotPages {
    uint64_t begin = 0;
    uint32_t count = 0;
    bool has_place = false;
  };
  struct Staging {
    Block block;
    std::unique_ptr<Marker> sent;  // the last copy out of it has happened
  };

  static Counts counts_max(const PassLimits& limits);
  static uint64_t block_bytes(const PassLimits& limits);
  Counts count(const PassInput& input);
  void place_pages(const PassInput& input, Counts& counts);
  void fill_spans(const PassInput& input, const Layout& host, const Layout& device);
  void fill_samples(const PassInput& input, const Layout& host, const Layout& device);

  Device& device_;
  const PassLimits limits_;
  const TokenHistory history_;
  const uint32_t mask_words_each_;     // ceil(vocab / 32)
  Block block_;                        // the device's; empty where ops read the staging block
  std::vector<Staging> staging_;       // one more than passes_ahead(), used in turn
  std::vector<SlotPages> slot_pages_;  // [slots]
  size_t next_ = 0;                    // of staging_
};

}  // namespace dsv3
