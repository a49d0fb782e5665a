// One sequence: its tokens and their origin, its pages, its generation, its events.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/allocator.h"
#include "engine/event_ring.h"
#include "engine/generation.h"
#include "engine/types.h"
#include "ops/args.h"

namespace dsv3 {

// The part of a sequence that is as large as its options say, in one block. Made outside all locks.
struct SequenceStorage {
  SequenceStorage() = default;
  SequenceStorage(Allocator& allocator, uint32_t tokens_max_in, uint32_t events_max);
  static uint64_t bytes(uint32_t tokens_max, uint32_t events_max);

  Block block;
  uint32_t tokens_max = 0;
  int32_t* tokens = nullptr;      // [tokens_max]
  uint64_t* generated = nullptr;  // [ceil(tokens_max / 64)] bit i: token i was generated
  int32_t* pages = nullptr;       // [ceil(tokens_max / 64)]
  char* taken_text = nullptr;     // [kEventTextBytes] of the event last taken with next_event
  EventRing ring;

 private:
  void carve(Carver& carver, uint32_t events_max);
};

// Guarded by the engine's lock, except that a pass in flight reads tokens [0, its last row] and
// pages without it: neither changes while in_pass is set.
struct Sequence {
  SequenceId id = 0;  // 0: the slot is free
  uint32_t slot = 0;
  SequenceStorage storage;
  uint32_t token_count = 0;
  uint32_t cached = 0;                 // tokens whose latents are in the pages
  uint32_t cached_peak = 0;            // the most that were ever: below it prefill is recomputation
  uint32_t page_count = 0;             // held
  Channel channel = Channel::kAnswer;  // open after the last token
  bool wants_prefill =
      false;               // appended tokens (or logits) are to be computed without a generation
  bool in_pass = false;    // the pass in flight has rows or a draw of it
  bool is_zombie = false;  // destroyed while in_pass: the slot goes free when the pass is over
  bool destroy_on_return = false;  // destroyed while its callback runs
  Generation generation;
  std::vector<LogitBias> pass_biases;  // of a generation replaced while its draw was in flight
  std::string error;                   // of the last failing call or generation

  uint32_t tokens_left() const { return storage.tokens_max - token_count; }
  uint32_t uncached() const { return token_count - cached; }
  bool is_running() const { return generation.phase == GenerationPhase::kRunning; }
  bool is_wanted() const { return is_running() || (wants_prefill && uncached() > 0); }
  bool is_blocked(const TextRules& rules) const;
  bool is_due() const;  // has events for its callback
  uint32_t generated_count() const { return token_count - generation.token_begin; }

  void append(int32_t token, AttentionForm form);
  AttentionForm form(uint32_t index) const;
  // One past the last token from `begin` on, before `end`, that has begin's form.
  uint32_t form_end(uint32_t begin, uint32_t end) const;
  // How the next token is drawn.
  SampleRow sample_row(uint32_t vocab_limit) const;
};

}  // namespace dsv3
