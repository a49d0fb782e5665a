// The host's callbacks as the library calls them: copied, with the host's floating-point settings
// inside, and their user_data given back once.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

#include "base/allocator.h"
#include "base/log.h"
#include "base/thread_pool.h"
#include "checkpoint/source.h"
#include "dsv3.h"

namespace dsv3 {

// Lives as long as its context: everything below keeps a pointer to it.
class HostHooks {
 public:
  HostHooks();
  ~HostHooks();  // gives every user_data back, with the caller's floating-point settings
  HostHooks(const HostHooks&) = delete;
  HostHooks& operator=(const HostHooks&) = delete;

  // Copies what the options bring; null stays absent. From here on free_user_data is this object's
  // to call. INVALID_ARGUMENT or UNSUPPORTED name the struct, after all readable ones were taken.
  void take(const dsv3_context_options& options);
  // Replaces the threads struct; the old user_data is given back by release_old_threads().
  void replace_threads(const dsv3_threads& threads);
  void restore_old_threads();  // the new user_data is given back instead
  void release_old_threads();

  bool has_io() const { return io_.struct_size != 0; }
  bool has_progress() const { return progress_.struct_size != 0; }
  const dsv3_threads& threads() const { return threads_; }  // all zero when the host gave none

  // Thin functions over the host's, for the rooms below. Null functions where the host gave none.
  IoCallbacks io_callbacks();
  Allocator::Hook allocator_hook();
  LogSink log_sink();
  HostParallelFor parallel_for();
  // Non-zero: cancel.
  int32_t report_progress(uint64_t bytes_done, uint64_t bytes_total);

  // The floating-point settings of the host while a call is inside: callbacks of the STEP call get
  // those of its thread, whatever other threads bring meanwhile.
  class CallFp {
   public:
    CallFp(HostHooks& hooks, bool is_step, uint64_t state);
    ~CallFp();
    CallFp(const CallFp&) = delete;
    CallFp& operator=(const CallFp&) = delete;

   private:
    HostHooks& hooks_;
    const bool is_step_;
    const bool is_nested_;  // a SHARED call from a callback of the STEP call
    uint64_t before_ = 0;
  };
  uint64_t host_fp() const { return step_fp_.load(std::memory_order_relaxed); }
  // The same for the allocator, which SHARED calls need too.
  uint64_t allocator_fp() const;
  // When no call is inside.
  void set_host_fp(uint64_t state);

 private:
  struct Forward;  // the functions that the rooms below call

  bool is_step_thread() const;

  // struct_size 0: absent.
  dsv3_io io_{};
  dsv3_allocator allocator_{};
  dsv3_log log_{};
  dsv3_progress progress_{};
  dsv3_threads threads_{};
  dsv3_threads old_threads_{};
  std::atomic<std::thread::id> step_thread_{};  // nobody: no STEP call is inside
  std::atomic<uint64_t> step_fp_;
  std::atomic<uint64_t> shared_fp_;
};

// Checks a threads struct: INVALID_ARGUMENT naming the field.
void check_threads(const dsv3_threads& threads);

}  // namespace dsv3
