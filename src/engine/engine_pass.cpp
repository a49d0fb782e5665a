// From a plan to the model's input, and from its results back into the sequences. Step thread,
// under the lock.
#include <algorithm>

#include "engine/engine_impl.h"

namespace dsv3 {

void Engine::Impl::plan_pass(const StepBounds& bounds, bool* any_refused) {
  DSV3_ASSERT(!pass.is_active);
  demands.clear();
  for (const uint32_t slot : table.by_age()) {
    const Sequence& sequence = table.at(slot);
    demands.push_back({.slot = slot,
                       .tokens = sequence.token_count,
                       .cached = sequence.cached,
                       .pages = sequence.page_count,
                       .is_generating = sequence.is_running(),
                       .is_wanted = sequence.is_wanted(),
                       .is_blocked = sequence.is_blocked(text_rules)});
  }
  const StepPlan& plan = scheduler.plan({.demands = demands,
                                         .pages_free = pages.free_count(),
                                         .page_count = pages.page_count(),
                                         .rows_max = rows_max,
                                         .prefill_rows_max = prefill_rows(bounds.segment_us),
                                         .policy = options.out_of_pages});
  planned_version = work_version;
  *any_refused = !plan.refusals.empty();
  for (const uint32_t slot : plan.preempted) {
    release_pages(table.at(slot));
    ++counts.preemptions;
  }
  for (const Refusal& refusal : plan.refusals) {
    finish_error(table.at(refusal.slot), Status::kLimit,
                 str("latent cache: ", refusal.pages_wanted, " more pages of ", kPageTokens,
                     " tokens wanted, ", refusal.pages_free, " free of ", pages.page_count()));
  }
  close_pass();
  for (const PlannedWork& work : plan.work) add_work(work);
  pass.is_active = !plan.work.empty();
  pass.segment_us_wanted = bounds.segment_us;
}

void Engine::Impl::add_work(const PlannedWork& work) {
  Sequence& sequence = table.at(work.slot);
  for (uint32_t i = 0; i < work.pages_new; ++i) {
    sequence.storage.pages[sequence.page_count++] = pages.take();
  }
  const uint32_t end = sequence.cached + work.row_count;
  for (uint32_t at = sequence.cached; at < end;) {
    const uint32_t next = sequence.form_end(at, end);
    pass.spans.push_back({.slot = work.slot,
                          .form = sequence.form(at),
                          .position_begin = at,
                          .tokens = {sequence.storage.tokens + at, next - at},
                          .pages = {sequence.storage.pages, sequence.page_count},
                          .last_of_slot = next == end});
    at = next;
  }
  RunningPass::Entry entry{sequence.id, 0, work.row_count, -1};
  if (sequence.is_running()) entry.generation = sequence.generation.serial;
  if (work.draws) {
    entry.draw = static_cast<int32_t>(pass.samples.size());
    pass.samples.push_back({work.slot, sequence.sample_row(options.vocab_limit)});
  }
  pass.row_count += work.row_count;
  pass.entries.push_back(entry);
  sequence.in_pass = true;
}

void Engine::Impl::commit_entry(const RunningPass::Entry& entry) {
  Sequence& sequence = table.at(slot_of(entry.sequence));
  if (sequence.is_zombie) return;
  const Generation& generation = sequence.generation;
  const bool is_current = sequence.is_running() && generation.serial == entry.generation;
  const uint32_t before = sequence.cached;
  const uint32_t after = before + entry.row_count;
  const bool is_decode = entry.row_count == 1 && entry.draw >= 0 &&
                         before >= sequence.cached_peak &&
                         sequence.form(before) == AttentionForm::kAbsorbed;
  if (!is_decode) counts.tokens_prefilled += entry.row_count;
  counts.tokens_recomputed += std::max(std::min(after, sequence.cached_peak), before) - before;
  sequence.cached = after;
  sequence.cached_peak = std::max(sequence.cached_peak, after);
  if (sequence.uncached() == 0) sequence.wants_prefill = false;

  if (is_current && before < generation.token_begin && entry.row_count > 0 &&
      generation.wants(kEventsPrefill)) {
    const uint32_t begin = generation.cached_begin;
    const uint32_t now = std::clamp(after, begin, generation.token_begin);
    sequence.storage.ring.push({.sequence = sequence.id,
                                .kind = EventKind::kPrefillProgress,
                                .prefill_done = now - begin,
                                .prefill_total = generation.token_begin - begin});
  }
  if (is_current && entry.draw >= 0) {
    commit_token(sequence, model.results()[static_cast<size_t>(entry.draw)]);
  }
}

void Engine::Impl::close_pass() {
  for (const RunningPass::Entry& entry : pass.entries) {
    Sequence& sequence = table.at(slot_of(entry.sequence));
    sequence.in_pass = false;
    sequence.pass_biases.clear();
    if (sequence.is_zombie) garbage.push_back({UserData(), remove(sequence)});
  }
  pass.is_active = false;
  pass.segment = 0;
  pass.row_count = 0;
  pass.busy_us = 0;
  pass.segment_us_wanted = 0;
  pass.segment_us_max = 0;
  pass.entries.clear();
  pass.spans.clear();
  pass.samples.clear();
}

// Is there anybody left for whom the pass computes?
bool Engine::Impl::is_pass_wanted() {
  return std::any_of(pass.entries.begin(), pass.entries.end(), [this](const auto& entry) {
    const Sequence& sequence = table.at(slot_of(entry.sequence));
    if (sequence.is_zombie) return false;
    if (entry.generation == 0) return true;
    return sequence.is_running() && sequence.generation.serial == entry.generation;
  });
}

uint32_t Engine::Impl::prefill_rows(uint64_t segment_us) const {
  const uint32_t most = options.prefill_tokens_max == 0 ? rows_max : options.prefill_tokens_max;
  return segment_us == 0 ? most : std::min(most, budget_rows);
}

// What one more row costs is not known beforehand (it may wake other experts), so the chunk that
// fits a budget is found by trying: up while there is room, halved as soon as there is none.
void Engine::Impl::adapt_budget_rows() {
  const uint64_t wanted = pass.segment_us_wanted;
  if (wanted == 0 || pass.row_count == 0) return;
  if (pass.segment_us_max > wanted) {
    budget_rows = std::max(kBudgetRowsMin, std::min(budget_rows, pass.row_count) / 2);
  } else if (pass.row_count >= budget_rows && pass.segment_us_max <= wanted / 4 * 3) {
    const bool is_far = pass.segment_us_max <= wanted / 2;
    const uint32_t more = is_far ? budget_rows : std::max(1u, budget_rows / 4);
    budget_rows = std::min(rows_max, budget_rows + more);
  }
}

StepState Engine::Impl::state_between_passes() {
  const auto slots = table.by_age();
  const bool any_ready = std::any_of(slots.begin(), slots.end(), [this](uint32_t slot) {
    const Sequence& sequence = table.at(slot);
    return sequence.is_due() || (sequence.is_wanted() && !sequence.is_blocked(text_rules));
  });
  if (any_ready) return StepState::kReady;
  return any_blocked() ? StepState::kStalled : StepState::kIdle;
}

bool Engine::Impl::any_blocked() {
  const auto slots = table.by_age();
  return std::any_of(slots.begin(), slots.end(),
                     [this](uint32_t slot) { return table.at(slot).is_blocked(text_rules); });
}

void Engine::Impl::note_segment(uint64_t us, bool is_head) {
  pass.busy_us += us;
  if (!is_head) pass.segment_us_max = std::max(pass.segment_us_max, us);
  busy_us.fetch_add(us, std::memory_order_relaxed);
  // Written by this thread only; atomic because stats() reads it.
  if (us > segment_us_max.load(std::memory_order_relaxed)) {
    segment_us_max.store(us, std::memory_order_relaxed);
  }
}

}  // namespace dsv3
