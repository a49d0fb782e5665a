#include "engine/scheduler.h"

#include <algorithm>

#include "base/checked.h"

namespace dsv3 {
namespace {

uint32_t pages_for(uint64_t tokens) {
  return static_cast<uint32_t>(ceil_div<uint64_t>(tokens, kPageTokens));
}

uint32_t pages_missing(const SequenceDemand& demand, uint64_t tokens) {
  const uint32_t wanted = pages_for(tokens);
  return wanted > demand.pages ? wanted - demand.pages : 0;
}

}  // namespace

void StepPlan::clear() {
  preempted.clear();
  work.clear();
  refusals.clear();
}

Scheduler::Scheduler(uint32_t slots) {
  plan_.preempted.reserve(slots);
  plan_.work.reserve(slots);
  plan_.refusals.reserve(slots);
  marks_.reserve(slots);
}

const StepPlan& Scheduler::plan(const SchedulerInput& input) {
  input_ = input;
  plan_.clear();
  marks_.assign(input.demands.size(), Mark::kOpen);
  pages_free_ = input.pages_free;
  rows_left_ = input.rows_max;
  prefill_rows_left_ = std::min(input.prefill_rows_max, input.rows_max);

  const size_t count = input.demands.size();
  uint32_t decodes = 0;
  oldest_ = count;
  for (size_t i = 0; i < count; ++i) {
    if (!can_run(i)) continue;
    oldest_ = std::min(oldest_, i);
    if (!is_prefill(i)) ++decodes;
  }
  if (oldest_ == count) return plan_;

  if (is_prefill(oldest_)) {
    const uint32_t beside_decodes = rows_left_ > decodes ? rows_left_ - decodes : 0;
    place(oldest_, std::max({beside_decodes, input.rows_max / 4, 1u}));
  } else {
    place(oldest_, 1);
  }
  for (size_t i = 0; i < count; ++i) {
    if (can_run(i) && !is_prefill(i)) place(i, 1);
  }
  for (size_t i = 0; i < count; ++i) {
    if (can_run(i) && is_prefill(i)) place(i, rows_left_);
  }
  keep_youngest_refusal();
  return plan_;
}

// One end may free the pages that the others lack: they are planned again after it.
void Scheduler::keep_youngest_refusal() {
  if (plan_.refusals.size() < 2) return;
  const auto youngest =
      std::max_element(plan_.refusals.begin(), plan_.refusals.end(),
                       [](const Refusal& a, const Refusal& b) { return a.index < b.index; });
  plan_.refusals.front() = *youngest;
  plan_.refusals.resize(1);
}

bool Scheduler::can_run(size_t index) const {
  const SequenceDemand& demand = input_.demands[index];
  return demand.is_wanted && !demand.is_blocked && marks_[index] == Mark::kOpen;
}

bool Scheduler::is_prefill(size_t index) const {
  const SequenceDemand& demand = input_.demands[index];
  return !demand.is_generating || demand.tokens - demand.cached > 1;
}

void Scheduler::place(size_t index, uint32_t rows_max) {
  const SequenceDemand& demand = input_.demands[index];
  const uint32_t uncached = demand.tokens - demand.cached;
  uint32_t rows = std::min({uncached, rows_max, rows_left_});
  if (is_prefill(index)) rows = std::min(rows, prefill_rows_left_);
  if (rows == 0 && uncached > 0) return;
  if (input_.policy == OutOfPagesPolicy::kLimit) {
    // All pages of the tokens known now, so that a chunk never strands behind a later sequence.
    if (fit_or_refuse(index, rows)) take(index, rows, pages_missing(demand, demand.tokens));
    return;
  }
  if (fit_preempting(index, &rows)) {
    take(index, rows, pages_missing(demand, demand.cached + rows));
  }
}

// Frees pages of others until the rows fit, or cuts the rows to what can be had.
bool Scheduler::fit_preempting(size_t index, uint32_t* rows) {
  const SequenceDemand& demand = input_.demands[index];
  if (demand.pages == 0 && demand.tokens > 0 && index != oldest_ && !may_enter(index)) return false;
  while (pages_missing(demand, demand.cached + *rows) > pages_free_) {
    if (!preempt_for(index)) break;
  }
  const uint64_t room = uint64_t{demand.pages + pages_free_} * kPageTokens - demand.cached;
  *rows = static_cast<uint32_t>(std::min<uint64_t>(*rows, room));
  return *rows > 0 || demand.tokens == demand.cached;
}

bool Scheduler::fit_or_refuse(size_t index, uint32_t rows) {
  const SequenceDemand& demand = input_.demands[index];
  const uint32_t missing = pages_missing(demand, demand.tokens);
  if (rows == 0 || missing <= pages_free_) return true;
  if (demand.is_generating) {
    plan_.refusals.push_back({index, demand.slot, missing, pages_free_});
    marks_[index] = Mark::kPlanned;
  }
  return false;
}

// A sequence without pages enters only when all its tokens and one more fit without taking pages
// from working sequences: else two that do not fit together would throw each other out for ever.
bool Scheduler::may_enter(size_t index) const {
  const uint64_t tokens = uint64_t{input_.demands[index].tokens} + 1;
  return std::min(pages_for(tokens), input_.page_count) <= pages_free_ + pages_idle();
}

uint32_t Scheduler::pages_idle() const {
  uint32_t pages = 0;
  for (size_t i = 0; i < input_.demands.size(); ++i) {
    const SequenceDemand& demand = input_.demands[i];
    if (!demand.is_wanted && marks_[i] == Mark::kOpen) pages += demand.pages;
  }
  return pages;
}

// Takes the pages of the best victim: idle before blocked before working, the youngest first. A
// working sequence gives way only to an older one.
bool Scheduler::preempt_for(size_t index) {
  const auto rank = [&](size_t i) {
    const SequenceDemand& demand = input_.demands[i];
    if (i == index || marks_[i] != Mark::kOpen || demand.pages == 0) return 0;
    if (!demand.is_wanted) return 3;
    if (demand.is_blocked) return 2;
    return i > index ? 1 : 0;
  };
  size_t victim = index;
  for (size_t i = 0; i < input_.demands.size(); ++i) {
    if (rank(i) > 0 && rank(i) >= rank(victim)) victim = i;
  }
  if (victim == index) return false;
  marks_[victim] = Mark::kPreempted;
  pages_free_ += input_.demands[victim].pages;
  plan_.preempted.push_back(input_.demands[victim].slot);
  return true;
}

void Scheduler::take(size_t index, uint32_t rows, uint32_t pages) {
  const SequenceDemand& demand = input_.demands[index];
  marks_[index] = Mark::kPlanned;
  pages_free_ -= pages;
  rows_left_ -= rows;
  if (is_prefill(index)) prefill_rows_left_ -= rows;
  const bool draws = demand.is_generating && demand.cached + rows == demand.tokens;
  if (rows > 0 || draws) plan_.work.push_back({demand.slot, rows, pages, draws});
}

}  // namespace dsv3
