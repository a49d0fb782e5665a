// What does the next pass do? A pure answer from sequences and free pages: no clock, no locks.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/types.h"

namespace dsv3 {

// A living sequence as the scheduler sees it.
struct SequenceDemand {
  uint32_t slot = 0;
  uint32_t tokens = 0;         // in the sequence
  uint32_t cached = 0;         // of them that need no row any more
  uint32_t pages = 0;          // held
  bool is_generating = false;  // wants a token drawn after the last
  bool is_wanted = false;      // has work: generates, or has tokens to prefill
  bool is_blocked = false;     // its event ring has no room for one pass's output
};

struct SchedulerInput {
  std::span<const SequenceDemand> demands;  // oldest sequence first
  uint32_t pages_free = 0;
  uint32_t page_count = 0;
  uint32_t rows_max = 0;          // of the pass
  uint32_t prefill_rows_max = 0;  // of them for prefill chunks, >= 1
  OutOfPagesPolicy policy = OutOfPagesPolicy::kPreempt;
};

struct PlannedWork {
  uint32_t slot = 0;
  uint32_t row_count = 0;  // tokens cached .. cached + row_count - 1; 0 when only a draw is wanted
  uint32_t pages_new = 0;  // to be taken before the pass
  bool draws = false;      // a token is drawn after the last row
};

struct Refusal {     // policy kLimit: this generation ends
  size_t index = 0;  // into the demands
  uint32_t slot = 0;
  uint32_t pages_wanted = 0;
  uint32_t pages_free = 0;
};

struct StepPlan {
  std::vector<uint32_t> preempted;  // slots whose pages are given back before any is taken
  std::vector<PlannedWork> work;
  std::vector<Refusal> refusals;  // at most one: the youngest that lacks pages
  void clear();
};

// Decodes first (oldest sequence first), then prefill chunks by age up to prefill_rows_max. The
// oldest sequence that can run is placed before all others, with at least a quarter of the rows
// when it prefills: it always progresses. Holds nothing but memory between calls.
class Scheduler {
 public:
  explicit Scheduler(uint32_t slots);

  // The plan lives until the next call.
  const StepPlan& plan(const SchedulerInput& input);

 private:
  enum class Mark : uint8_t { kOpen, kPlanned, kPreempted };

  bool can_run(size_t index) const;
  bool is_prefill(size_t index) const;
  void place(size_t index, uint32_t rows_max);
  bool fit_preempting(size_t index, uint32_t* rows);
  bool fit_or_refuse(size_t index, uint32_t rows);
  bool preempt_for(size_t index);
  bool may_enter(size_t index) const;
  uint32_t pages_idle() const;
  void keep_youngest_refusal();
  void take(size_t index, uint32_t rows, uint32_t pages);

  SchedulerInput input_;
  StepPlan plan_;
  std::vector<Mark> marks_;  // [demands]
  size_t oldest_ = 0;        // the first demand that can run
  uint32_t pages_free_ = 0;
  uint32_t rows_left_ = 0;
  uint32_t prefill_rows_left_ = 0;
};

}  // namespace dsv3
