// What becomes of passes in flight: how the next is planned on top of one whose results nobody has
// seen, what of it turns out to be void, and how it lands.
//
// Order on the device is the order in which passes were begun. So once its last segment has run, a
// pass holds nothing back: pages and slots of a sequence that was destroyed meanwhile, and pages
// that a void row took, may go to the next pass, which writes them after the flying one. Only the
// host must not take the old results for those of the slot's new owner: entries name sequences by
// id and generations by serial.
#include <algorithm>
#include <utility>

#include "engine/engine_impl.h"

namespace dsv3 {

// The sequence as it will be when what flies is committed, unless its next token ends it.
SequenceDemand Engine::Impl::outlook(const Sequence& sequence) {
  SequenceDemand out{.slot = sequence.slot,
                     .tokens = sequence.token_count,
                     .cached = sequence.cached,
                     .pages = sequence.page_count,
                     .is_generating = sequence.is_running(),
                     .is_blocked = sequence.is_blocked(text_rules, 1)};
  const RunningPass::Entry* const flying = in_flight[sequence.slot];
  if (flying != nullptr) out.cached = flying->row_begin + flying->row_count;
  bool wants_prefill = sequence.wants_prefill;
  if (flying != nullptr && flying->draw >= 0 && is_of_current(*flying, sequence)) {
    ++out.tokens;
    out.is_generating = !sequence.is_last_token(out.tokens);
    wants_prefill = false;
  }
  out.cached = sequence.row_begin(out.tokens, out.cached);
  out.is_wanted = out.is_generating || (wants_prefill && out.cached < out.tokens);
  return out;
}

// Would some sequence run or not, depending on how many events the flying pass brings?
bool Engine::Impl::is_any_room_doubtful() {
  return std::any_of(demands.begin(), demands.end(), [this](const SequenceDemand& demand) {
    const Sequence& sequence = table.at(demand.slot);
    return in_flight[demand.slot] != nullptr && demand.is_generating && !demand.is_blocked &&
           sequence.is_blocked(text_rules, 2);
  });
}

// The oldest pass in flight. False when nothing of it was wanted any more, so that without flight
// it would not have been.
bool Engine::Impl::land() {
  const uint64_t begin_us = clock.now_us();
  const std::span<const SampleResult> results = wait_for_oldest();
  RunningPass& flight = flights.front();
  const uint64_t us = note_landing(flight, begin_us);
  Lock lock(*this);
  settle_cancels();
  void_stale_entries();
  bool is_wanted = false;
  for (const RunningPass::Entry& entry : flight.entries) {
    Sequence* const sequence = table.find(entry.sequence);
    if (sequence == nullptr || entry.is_void) continue;
    commit_entry(entry, flight.is_ahead, *sequence, results);
    is_wanted = true;
  }
  if (is_wanted) {
    ++counts.passes;
    pass_us_last.store(us, std::memory_order_relaxed);
    adapt_budget_rows(flight);
  }
  const bool was_ahead = flight.is_ahead;
  close_oldest();
  void_stale_entries();  // of those that ended here
  return is_wanted || !was_ahead;
}

// What was planned on top of a pass that failed stands on rows that are not there.
std::span<const SampleResult> Engine::Impl::wait_for_oldest() {
  try {
    return model.wait_results();
  } catch (...) {
    Lock lock(*this);
    if (pass.is_active) void_entries(pass);
    for (uint32_t i = flight_count; i > 1; --i) void_entries(flights[i - 1]);
    for (uint32_t i = 0; i < flight_count; ++i) forget_h(flights[i]);
    close_oldest();
    throw;
  }
}

// The pass did not happen, or not to its end.
void Engine::Impl::forget_h(const RunningPass& of) {
  for (const RunningPass::Entry& entry : of.entries) {
    Sequence* const sequence = table.find(entry.sequence);
    if (sequence != nullptr && entry.row_count > 0) sequence->h_end = Sequence::kNoH;
  }
}

void Engine::Impl::close_oldest() {
  flights.front().clear();
  std::rotate(flights.begin(), flights.begin() + 1, flights.end());
  --flight_count;
}

// A row that was planned for a generation which is over is as if it had never been planned.
void Engine::Impl::void_stale_entries() {
  const auto look = [this](RunningPass& of) {
    if (!of.is_ahead) return;
    for (RunningPass::Entry& entry : of.entries) {
      if (entry.generation == 0 || entry.is_void) continue;
      const Sequence* const sequence = table.find(entry.sequence);
      if (sequence != nullptr && !is_of_current(entry, *sequence)) void_entry(of, entry);
    }
  };
  // The youngest first: pages go back from the end of a page table.
  look(pass);
  for (uint32_t i = flight_count; i > 0; --i) look(flights[i - 1]);
}

void Engine::Impl::void_entries(RunningPass& of) {
  for (RunningPass::Entry& entry : of.entries) {
    if (!entry.is_void) void_entry(of, entry);
  }
}

void Engine::Impl::void_entry(RunningPass& of, RunningPass::Entry& entry) {
  entry.is_void = true;
  Sequence* const sequence = table.find(entry.sequence);
  if (sequence == nullptr || !of.is_ahead) return;
  DSV3_ASSERT(entry.pages_new <= sequence->page_count);
  sequence->page_count -= entry.pages_new;
  pages.give_back({sequence->storage.pages + sequence->page_count, entry.pages_new});
}

bool Engine::Impl::is_enqueued(const RunningPass& of) const {
  return flights_max > 1 && !of.in_slices;
}

// What only was enqueued took the time since it was begun, or since the pass before was over; what
// happened while it was called took the sum of its pieces, without the host's pauses between them.
uint64_t Engine::Impl::note_landing(RunningPass& flight, uint64_t begin_us) {
  const uint64_t now_us = clock.now_us();
  note_piece(flight, now_us - begin_us, true);
  const uint64_t before_us = std::exchange(landed_us, now_us);
  if (!is_enqueued(flight)) return flight.busy_us;
  const uint64_t us = now_us - std::max(flight.begun_us, before_us);
  busy_us.fetch_add(us, std::memory_order_relaxed);
  return us;
}

void Engine::Impl::note_piece(RunningPass& of, uint64_t us, bool is_head) {
  of.busy_us += us;
  if (!is_head) of.segment_us_max = std::max(of.segment_us_max, us);
  if (!is_enqueued(of)) busy_us.fetch_add(us, std::memory_order_relaxed);
  // Written by this thread only; atomic because stats() reads it.
  if (us > segment_us_max.load(std::memory_order_relaxed)) {
    segment_us_max.store(us, std::memory_order_relaxed);
  }
}

}  // namespace dsv3
