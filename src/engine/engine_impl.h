// What an Engine holds, grouped by what protects it, and the parts its calls are made of.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <limits>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "engine/cancel.h"
#include "engine/engine.h"
#include "engine/page_pool.h"
#include "engine/scheduler.h"
#include "engine/sequence_table.h"

namespace dsv3 {

// Prefill rows of a pass under a budget, at least: each chunk expands its whole prefix again and
// wakes most experts, whatever its size, so that smaller ones are hardly shorter and much more
// work.
inline constexpr uint32_t kBudgetRowsMin = 16;

// The pass that is being computed; owned by the step thread.
struct RunningPass {
  struct Entry {
    SequenceId sequence = 0;
    uint64_t generation = 0;  // serial; 0 = prefill without a generation
    uint32_t row_count = 0;
    int32_t draw = -1;  // index into samples; -1 = no token is drawn
  };

  bool is_active = false;
  uint32_t segment = 0;  // the next one
  uint32_t row_count = 0;
  uint64_t busy_us = 0;
  uint64_t segment_us_wanted = 0;  // of the budget it was planned under; 0 = any
  uint64_t segment_us_max = 0;     // the head left out: it does not grow with the chunk
  std::vector<Entry> entries;
  std::vector<PassSpan> spans;
  std::vector<PassSample> samples;
};

// How far one call may go.
struct StepBounds {
  uint64_t deadline_us = std::numeric_limits<uint64_t>::max();
  uint64_t segment_us = 0;  // a segment should not take longer; 0 = any
  bool one_pass = false;
};

// Things to be let go of outside the lock: they run the host's code.
struct Garbage {
  UserData user_data;
  SequenceStorage storage;
};

struct Engine::Impl {
  Impl(const EngineParts& parts, const EngineOptions& options_in);
  ~Impl();

  // --- constant after construction
  PassModel& model;
  const Tokenizer* const tokenizer;
  Clock& clock;
  Allocator& allocator;
  const EngineOptions options;
  const PassLimits limits;
  const TextRules text_rules;
  const uint32_t rows_max;
  const uint32_t sequence_tokens_max;  // one sequence alone always fits

  // --- any thread, any time
  CancelBoard cancels;
  std::atomic<bool> interrupted{false};
  std::atomic<uint64_t> segment_us_max{0};
  std::atomic<uint64_t> pass_us_last{0};
  std::atomic<uint64_t> busy_us{0};

  // --- guarded by mutex
  std::mutex mutex;
  std::condition_variable work_arrived;
  std::condition_variable callback_returned;
  SequenceTable table;
  PagePool pages;
  EngineStats counts;
  std::vector<Garbage> garbage;
  uint64_t work_version = 0;         // changes whenever there may be new work
  SequenceId callback_sequence = 0;  // whose callback runs now
  std::thread::id callback_thread;
  uint32_t next_any = 0;  // next_event(0) goes round
  Status fault_status = Status::kOk;
  std::string fault_message;

  // --- owned by the step thread
  Scheduler scheduler;
  std::vector<SequenceDemand> demands;
  RunningPass pass;
  uint32_t budget_rows = kBudgetRowsMin;  // prefill rows of a pass under a budget, adapted
  bool was_interrupted = false;           // the call that runs now
  uint64_t planned_version = 0;           // work_version of the last plan
  char delivery_text[kEventTextBytes] = {};

  // Holds the mutex; what piles up in `garbage` meanwhile is let go after it.
  class Lock {
   public:
    explicit Lock(Impl& impl_in) : impl(impl_in), held(impl_in.mutex) {}
    ~Lock();
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;

    Impl& impl;
    std::unique_lock<std::mutex> held;
  };

  // engine.cpp: step thread, lock not held
  enum class Ran { kDone, kPaused, kDropped };
  StepState advance(const StepBounds& bounds);
  StepState advance_or_fail(const StepBounds& bounds);
  void after_failure();  // inside a catch block: rolls back or faults
  bool start_pass(const StepBounds& bounds);
  Ran run_segments(const StepBounds& bounds);
  void commit_pass();
  void drop_pass();
  bool take_interrupt();
  void fault(Status status, const std::string& message);
  bool prepare_logits(SequenceId id);  // true when the cache holds all tokens; marks it in_pass

  // engine_pass.cpp: step thread, lock held
  void plan_pass(const StepBounds& bounds, bool* any_refused);
  void add_work(const PlannedWork& work);
  void commit_entry(const RunningPass::Entry& entry);
  void close_pass();  // the pass is over, whatever became of it
  bool is_pass_wanted();
  uint32_t prefill_rows(uint64_t segment_us) const;
  void adapt_budget_rows();
  StepState state_between_passes();
  bool any_blocked();
  void note_segment(uint64_t us, bool is_head);

  // engine_events.cpp; lock held unless said otherwise
  void append_token(Sequence& sequence, int32_t token, AttentionForm form);
  void commit_token(Sequence& sequence, const SampleResult& result);
  void finish_without_token(Sequence& sequence);
  FinishReason release_text(Sequence& sequence, int32_t token);
  void push_text(Sequence& sequence);
  void finish(Sequence& sequence, FinishReason reason, Status status, int32_t token);
  void finish_error(Sequence& sequence, Status status, std::string_view message);
  void settle_cancel(Sequence& sequence);
  void settle_cancels();
  void deliver();                                    // step thread, lock not held
  void deliver_one(Lock& lock, Sequence& sequence);  // lets the lock go around the callback
  void cancel_by_callback(Sequence& sequence);

  // engine_calls.cpp: lock held
  void refuse_after_fault();                // FAULTED with the first cause
  Sequence& get_for_change(SequenceId id);  // also settles its cancel; FAULTED after a fault
  Garbage destroy(Sequence& sequence);      // the caller lets the result go outside the lock
  void append(Sequence& sequence, std::span<const int32_t> tokens);
  void start_generation(SequenceId id, GenerateOptions& request);  // lock not held
  void release_pages(Sequence& sequence);
  SequenceStorage remove(Sequence& sequence);
  void wake();  // there may be new work
};

}  // namespace dsv3
