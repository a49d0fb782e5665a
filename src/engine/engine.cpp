// The step: admit, plan, run, commit; and the calls that step.
#include "engine/engine.h"

#include <algorithm>
#include <chrono>
#include <new>
#include <utility>

#include "engine/engine_impl.h"

namespace dsv3 {
namespace {

// A sleeping run() looks at the interrupt flag this often: interrupt() may come from a signal
// handler, which cannot notify a condition variable.
constexpr uint64_t kSleepUsMax = 10'000;
constexpr uint64_t kNever = std::numeric_limits<uint64_t>::max();

uint64_t later(uint64_t now_us, uint64_t us) { return us > kNever - now_us ? kNever : now_us + us; }

// Failures after which the pass can simply be tried again.
bool rolls_back(Status status) {
  return status == Status::kOutOfMemory || status == Status::kIo || status == Status::kLimit ||
         status == Status::kCancelled;
}

}  // namespace

// Rounds of: settle cancels and deliver (admit), plan, run, commit, deliver; until a bound is met.
StepState Engine::Impl::advance(const StepBounds& bounds) {
  for (;;) {
    {
      Lock lock(*this);
      refuse_after_fault();
      settle_cancels();
    }
    deliver();
    if (take_interrupt()) break;
    if (!pass.is_active && !start_pass(bounds)) {
      deliver();
      Lock lock(*this);
      if (work_version == planned_version) {
        return any_blocked() ? StepState::kStalled : StepState::kIdle;
      }
      // A callback or another thread brought work; one that always does must not hold us for ever.
      if (!bounds.one_pass && clock.now_us() < bounds.deadline_us) continue;
      return state_between_passes();
    }
    const Ran ran = run_segments(bounds);
    if (ran == Ran::kPaused) return StepState::kPartial;
    if (ran == Ran::kDone) commit_pass();
    deliver();
    if (bounds.one_pass || clock.now_us() >= bounds.deadline_us) break;
  }
  Lock lock(*this);
  return pass.is_active ? StepState::kPartial : state_between_passes();
}

// False when there is nothing to compute.
bool Engine::Impl::start_pass(const StepBounds& bounds) {
  bool any_refused = false;
  do {
    Lock lock(*this);
    plan_pass(bounds, &any_refused);
  } while (!pass.is_active && any_refused);
  if (!pass.is_active) return false;
  model.begin({pass.spans, pass.samples});
  return true;
}

Engine::Impl::Ran Engine::Impl::run_segments(const StepBounds& bounds) {
  const uint32_t segment_count = model.segment_count();
  uint64_t now_us = clock.now_us();
  while (pass.segment < segment_count) {
    model.run_segment(pass.segment++);
    const uint64_t begin_us = std::exchange(now_us, clock.now_us());
    note_segment(now_us - begin_us, pass.segment == segment_count);
    if (cancels.take_changes()) {
      bool is_wanted = false;
      {
        Lock lock(*this);
        settle_cancels();
        is_wanted = is_pass_wanted();
      }
      deliver();
      if (!is_wanted) {
        drop_pass();
        return Ran::kDropped;
      }
      now_us = clock.now_us();
    }
    if (pass.segment == segment_count) break;
    if (now_us >= bounds.deadline_us || take_interrupt()) return Ran::kPaused;
  }
  return Ran::kDone;
}

void Engine::Impl::commit_pass() {
  Lock lock(*this);
  for (const RunningPass::Entry& entry : pass.entries) commit_entry(entry);
  ++counts.passes;
  pass_us_last.store(pass.busy_us, std::memory_order_relaxed);
  adapt_budget_rows();
  close_pass();
}

void Engine::Impl::drop_pass() {
  Lock lock(*this);
  close_pass();
}

bool Engine::Impl::take_interrupt() {
  if (!interrupted.exchange(false)) return false;
  was_interrupted = true;
  return true;
}

StepState Engine::Impl::advance_or_fail(const StepBounds& bounds) {
  try {
    return advance(bounds);
  } catch (...) {
    after_failure();
    throw;
  }
}

void Engine::Impl::after_failure() {
  try {
    throw;
  } catch (const Error& error) {
    if (rolls_back(error.status())) {
      drop_pass();
    } else {
      fault(error.status(), error.message());
    }
  } catch (const std::bad_alloc&) {
    drop_pass();
  } catch (const std::exception& error) {
    fault(Status::kInternal, error.what());
  } catch (...) {
    fault(Status::kInternal, "unknown exception inside a pass");
  }
}

void Engine::Impl::fault(Status status, const std::string& message) {
  {
    Lock lock(*this);
    close_pass();
    if (fault_status == Status::kOk) {
      fault_status = status;
      fault_message = message;
    }
    for (const uint32_t slot : table.by_age()) {
      Sequence& sequence = table.at(slot);
      if (sequence.is_running()) finish_error(sequence, status, message);
    }
  }
  deliver();
}

StepState Engine::step(uint64_t budget_us) {
  impl_->was_interrupted = false;
  StepBounds bounds;
  if (budget_us == 0) {
    bounds.one_pass = true;
  } else {
    bounds.deadline_us = later(impl_->clock.now_us(), budget_us);
    bounds.segment_us = budget_us;
  }
  return impl_->advance_or_fail(bounds);
}

StepState Engine::run(uint64_t timeout_us, bool wait_for_work) {
  Impl& impl = *impl_;
  impl.was_interrupted = false;
  StepBounds bounds;
  if (timeout_us != 0) bounds.deadline_us = later(impl.clock.now_us(), timeout_us);
  for (;;) {
    const StepState state = impl.advance_or_fail(bounds);
    if (!wait_for_work || impl.was_interrupted || state != StepState::kIdle) return state;
    const uint64_t now_us = impl.clock.now_us();
    if (now_us >= bounds.deadline_us) return state;
    const uint64_t sleep_us = std::min(kSleepUsMax, bounds.deadline_us - now_us);
    Impl::Lock lock(impl);
    impl.work_arrived.wait_for(lock.held, std::chrono::microseconds(sleep_us),
                               [&impl] { return impl.work_version != impl.planned_version; });
  }
}

FinishReason Engine::run_until_end(SequenceId id) {
  Impl& impl = *impl_;
  impl.was_interrupted = false;
  uint64_t serial = 0;
  StepState state = StepState::kReady;
  for (;;) {
    {
      Impl::Lock lock(impl);
      const Sequence* sequence = serial == 0 ? &impl.table.get(id) : impl.table.find(id);
      if (sequence == nullptr) return FinishReason::kNone;
      const Generation& generation = sequence->generation;
      if (serial == 0) serial = generation.serial;
      if (generation.serial != serial || generation.phase == GenerationPhase::kNone) {
        return generation.finish;
      }
      if (state == StepState::kStalled) {
        fail(Status::kLimit, "sequence ", id, ": its event ring is full with ",
             sequence->storage.ring.size(), " events; wanted them taken with next_event");
      }
    }
    if (impl.was_interrupted) return FinishReason::kNone;
    StepBounds bounds;
    bounds.one_pass = true;
    state = impl.advance_or_fail(bounds);
  }
}

// One look: is everything cached and no pass in flight (whose scratch memory the head would use)?
bool Engine::Impl::prepare_logits(SequenceId id) {
  Lock lock(*this);
  Sequence& sequence = get_for_change(id);
  if (sequence.is_running()) {
    fail(Status::kBusy, "sequence ", id,
         ": logits asked while it generates; wanted an idle sequence");
  }
  if (sequence.token_count == 0) {
    fail(Status::kInvalidArgument, "sequence ", id,
         ": logits of 0 tokens asked, wanted at least 1");
  }
  sequence.wants_prefill = sequence.uncached() > 0;
  if (sequence.wants_prefill || pass.is_active) return false;
  sequence.in_pass = true;
  return true;
}

void Engine::logits(SequenceId id, std::span<float> out) {
  Impl& impl = *impl_;
  impl.was_interrupted = false;
  if (out.size() != impl.limits.vocab) {
    fail(Status::kInvalidArgument, "logits: room for ", out.size(), " floats found, wanted ",
         impl.limits.vocab);
  }
  while (!impl.prepare_logits(id)) {
    StepBounds bounds;
    bounds.one_pass = true;
    const StepState state = impl.advance_or_fail(bounds);
    if (impl.was_interrupted) fail(Status::kCancelled, "logits: interrupted");
    if (state == StepState::kReady || impl.pass.is_active) continue;
    Impl::Lock lock(impl);
    const Sequence& sequence = impl.table.get(id);
    if (sequence.uncached() == 0 || sequence.is_running()) continue;
    fail(Status::kLimit, "sequence ", id, ": logits need ",
         (sequence.token_count + kPageTokens - 1) / kPageTokens - sequence.page_count,
         " more pages of ", kPageTokens, " tokens, ", impl.pages.free_count(), " are free");
  }
  impl.pass.entries.push_back({id, 0, 0, -1});
  try {
    impl.model.logits(slot_of(id), out);
  } catch (...) {
    impl.after_failure();
    throw;
  }
  impl.drop_pass();
}

void Engine::fault(Status status, const std::string& message) { impl_->fault(status, message); }

}  // namespace dsv3
