#include "api/host_hooks.h"

#include <exception>
#include <utility>

#include "api/api_structs.h"
#include "base/fp_env.h"

namespace dsv3 {
namespace {

template <typename Hook>
void give_back(Hook& hook) {
  if (hook.struct_size != 0 && hook.free_user_data != nullptr) hook.free_user_data(hook.user_data);
  hook = Hook{};
}

// Takes one struct; remembers the first failure instead of leaving the others untaken.
template <typename Hook>
void take_one(Hook& hook, const Hook* given, const char* name, std::exception_ptr& first_error) {
  if (given == nullptr) return;
  try {
    hook = read_struct(given, name);
  } catch (const Error&) {
    if (first_error == nullptr) first_error = std::current_exception();
  }
}

void want(bool present, const char* what) {
  if (!present) fail(Status::kInvalidArgument, what, " is NULL, wanted a function");
}

void want_zero(uint32_t reserved, const char* name) {
  if (reserved != 0) fail(Status::kUnsupported, name, ".reserved is ", reserved, ", wanted 0");
}

}  // namespace

struct HostHooks::Forward {
  static HostHooks& self(void* user_data) { return *static_cast<HostHooks*>(user_data); }

  static int32_t open(void* user_data, const char* name, void** out_file) {
    const HostFpEnvScope host(self(user_data).host_fp());
    return self(user_data).io_.open(self(user_data).io_.user_data, name, out_file);
  }
  static int32_t size(void* user_data, void* file, uint64_t* out_bytes) {
    const HostFpEnvScope host(self(user_data).host_fp());
    return self(user_data).io_.size(self(user_data).io_.user_data, file, out_bytes);
  }
  static int32_t read(void* user_data, void* file, uint64_t offset, void* out, uint64_t bytes) {
    const HostFpEnvScope host(self(user_data).host_fp());
    return self(user_data).io_.read(self(user_data).io_.user_data, file, offset, out, bytes);
  }
  static const void* map(void* user_data, void* file) {
    const HostFpEnvScope host(self(user_data).host_fp());
    return self(user_data).io_.map(self(user_data).io_.user_data, file);
  }
  static void close(void* user_data, void* file) {
    const HostFpEnvScope host(self(user_data).host_fp());
    self(user_data).io_.close(self(user_data).io_.user_data, file);
  }
  static void* allocate(void* user_data, uint64_t bytes, uint64_t alignment) {
    const HostFpEnvScope host(self(user_data).allocator_fp());
    const dsv3_allocator& hook = self(user_data).allocator_;
    return hook.allocate(hook.user_data, bytes, alignment);
  }
  static void release(void* user_data, void* block, uint64_t bytes) {
    const HostFpEnvScope host(self(user_data).allocator_fp());
    const dsv3_allocator& hook = self(user_data).allocator_;
    hook.release(hook.user_data, block, bytes);
  }
  static void write(void* user_data, int32_t level, const char* message, uint64_t bytes) {
    const HostFpEnvScope host(self(user_data).host_fp());
    const dsv3_log& hook = self(user_data).log_;
    hook.write(hook.user_data, level, message, bytes);
  }
  static void parallel_for(void* user_data, uint32_t tasks,
                           void (*body)(void* body_data, uint32_t task, uint32_t worker),
                           void* body_data) {
    const HostFpEnvScope host(self(user_data).host_fp());
    const dsv3_threads& hook = self(user_data).threads_;
    hook.parallel_for(hook.user_data, tasks, body, body_data);
  }
};

HostHooks::HostHooks() : step_fp_(fp_env_read()), shared_fp_(fp_env_read()) {}

HostHooks::~HostHooks() {
  give_back(io_);
  give_back(progress_);
  give_back(threads_);
  give_back(old_threads_);
  give_back(log_);
  give_back(allocator_);
}

void HostHooks::take(const dsv3_context_options& options) {
  std::exception_ptr first_error;
  take_one(allocator_, options.allocator, "dsv3_allocator", first_error);
  take_one(log_, options.log, "dsv3_log", first_error);
  take_one(progress_, options.progress, "dsv3_progress", first_error);
  take_one(threads_, options.threads, "dsv3_threads", first_error);
  take_one(io_, options.io, "dsv3_io", first_error);
  if (first_error != nullptr) std::rethrow_exception(first_error);
  if (allocator_.struct_size != 0) {
    want_zero(allocator_.reserved, "dsv3_allocator");
    want(allocator_.allocate != nullptr, "dsv3_allocator.allocate");
    want(allocator_.release != nullptr, "dsv3_allocator.release");
  }
  if (log_.struct_size != 0) {
    want(log_.write != nullptr, "dsv3_log.write");
    if (log_.level < DSV3_LOG_TRACE || log_.level > DSV3_LOG_OFF) {
      fail(Status::kInvalidArgument, "dsv3_log.level is ", log_.level, ", wanted 0 to 5");
    }
  }
  if (progress_.struct_size != 0) {
    want_zero(progress_.reserved, "dsv3_progress");
    want(progress_.report != nullptr, "dsv3_progress.report");
  }
  if (threads_.struct_size != 0) check_threads(threads_);
  if (io_.struct_size != 0) {
    want(io_.open != nullptr, "dsv3_io.open");
    want(io_.size != nullptr, "dsv3_io.size");
    want(io_.read != nullptr, "dsv3_io.read");
    want(io_.close != nullptr, "dsv3_io.close");
  }
}

void HostHooks::replace_threads(const dsv3_threads& threads) {
  old_threads_ = std::exchange(threads_, threads);
}

void HostHooks::restore_old_threads() { std::swap(threads_, old_threads_); }

void HostHooks::release_old_threads() {
  const HostFpEnvScope host(host_fp());
  give_back(old_threads_);
}

bool HostHooks::is_step_thread() const {
  return step_thread_.load(std::memory_order_relaxed) == std::this_thread::get_id();
}

uint64_t HostHooks::allocator_fp() const {
  return is_step_thread() ? host_fp() : shared_fp_.load(std::memory_order_relaxed);
}

void HostHooks::set_host_fp(uint64_t state) {
  step_fp_.store(state, std::memory_order_relaxed);
  shared_fp_.store(state, std::memory_order_relaxed);
}

HostHooks::CallFp::CallFp(HostHooks& hooks, bool is_step, uint64_t state)
    : hooks_(hooks), is_step_(is_step), is_nested_(!is_step && hooks.is_step_thread()) {
  if (is_step) hooks.step_thread_.store(std::this_thread::get_id(), std::memory_order_relaxed);
  std::atomic<uint64_t>& fp = is_step || is_nested_ ? hooks.step_fp_ : hooks.shared_fp_;
  before_ = fp.exchange(state, std::memory_order_relaxed);
}

HostHooks::CallFp::~CallFp() {
  if (is_step_) hooks_.step_thread_.store(std::thread::id(), std::memory_order_relaxed);
  if (is_nested_) hooks_.step_fp_.store(before_, std::memory_order_relaxed);
}

IoCallbacks HostHooks::io_callbacks() {
  IoCallbacks out;
  out.open = &Forward::open;
  out.size = &Forward::size;
  out.read = &Forward::read;
  out.map = io_.map != nullptr ? &Forward::map : nullptr;
  out.close = &Forward::close;
  out.user_data = this;
  out.serial = io_.serial != 0;
  return out;
}

Allocator::Hook HostHooks::allocator_hook() {
  if (allocator_.struct_size == 0) return {};
  return {.allocate = &Forward::allocate, .release = &Forward::release, .user_data = this};
}

LogSink HostHooks::log_sink() {
  if (log_.struct_size == 0) return {};
  return {.write = &Forward::write, .user_data = this, .level = static_cast<LogLevel>(log_.level)};
}

HostParallelFor HostHooks::parallel_for() {
  if (threads_.parallel_for == nullptr) return {};
  return {.run = &Forward::parallel_for, .user_data = this, .workers_max = threads_.workers_max};
}

int32_t HostHooks::report_progress(uint64_t bytes_done, uint64_t bytes_total) {
  if (!has_progress()) return 0;
  const HostFpEnvScope host(host_fp());
  return progress_.report(progress_.user_data, bytes_done, bytes_total);
}

void check_threads(const dsv3_threads& threads) {
  want_zero(threads.reserved, "dsv3_threads");
  const bool host = threads.parallel_for != nullptr;
  if (threads.count > kThreadsMax) {
    fail(Status::kLimit, "dsv3_threads.count is ", threads.count, ", wanted at most ", kThreadsMax);
  }
  if (host ? threads.workers_max == 0 || threads.workers_max > kThreadsMax
           : threads.workers_max != 0) {
    fail(Status::kInvalidArgument, "dsv3_threads.workers_max is ", threads.workers_max, ", wanted ",
         host ? "1 to 1024 with parallel_for" : "0 without parallel_for");
  }
}

}  // namespace dsv3
