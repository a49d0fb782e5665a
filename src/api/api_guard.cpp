#include "api/api_guard.h"

#include <cstring>
#include <new>

#include "api/context.h"
#include "base/fp_env.h"
#include "cuda/cuda_machine.h"

namespace dsv3 {

static_assert(static_cast<int32_t>(Status::kOk) == DSV3_OK);
static_assert(static_cast<int32_t>(Status::kInvalidArgument) == DSV3_INVALID_ARGUMENT);
static_assert(static_cast<int32_t>(Status::kInvalidModel) == DSV3_INVALID_MODEL);
static_assert(static_cast<int32_t>(Status::kUnsupported) == DSV3_UNSUPPORTED);
static_assert(static_cast<int32_t>(Status::kOutOfMemory) == DSV3_OUT_OF_MEMORY);
static_assert(static_cast<int32_t>(Status::kLimit) == DSV3_LIMIT);
static_assert(static_cast<int32_t>(Status::kBusy) == DSV3_BUSY);
static_assert(static_cast<int32_t>(Status::kCancelled) == DSV3_CANCELLED);
static_assert(static_cast<int32_t>(Status::kTimeout) == DSV3_TIMEOUT);
static_assert(static_cast<int32_t>(Status::kIo) == DSV3_IO);
static_assert(static_cast<int32_t>(Status::kDeviceLost) == DSV3_DEVICE_LOST);
static_assert(static_cast<int32_t>(Status::kFaulted) == DSV3_FAULTED);
static_assert(static_cast<int32_t>(Status::kInternal) == DSV3_INTERNAL);

namespace {

constexpr size_t kMessageBytes = 2048;

void copy_message(char* out, size_t out_bytes, const char* text) {
  const size_t bytes = cut_at_character(text, out_bytes - 1);
  std::memcpy(out, text, bytes);
  out[bytes] = '\0';
}

// Counts the calls that are inside, so that a context is not destroyed under its own callback.
class InsideScope {
 public:
  explicit InsideScope(dsv3_context& context) : context_(context) { ++context_.calls_inside; }
  ~InsideScope() { --context_.calls_inside; }
  InsideScope(const InsideScope&) = delete;
  InsideScope& operator=(const InsideScope&) = delete;

 private:
  dsv3_context& context_;
};

void check_needs(const dsv3_context& context, CallNeeds needs) {
  if (needs == CallNeeds::kNothing) return;
  if (context.refused != Status::kOk) {
    fail(Status::kInvalidArgument,
         "the options of this context were refused: ", context.first_cause.get());
  }
  if (needs != CallNeeds::kEvents && context.state.load() == DSV3_CONTEXT_FAULTED) {
    fail(Status::kFaulted, "this context ended earlier: ", context.first_cause.get());
  }
  if (needs != CallNeeds::kUsable && context.engine.load(std::memory_order_acquire) == nullptr) {
    fail(Status::kInvalidArgument, "no model is loaded: call dsv3_context_load first");
  }
}

// The sequence's own slot when it exists, else the context's.
void store_message(dsv3_context& context, SequenceId sequence, const char* message) noexcept {
  Engine* const engine = context.engine.load(std::memory_order_acquire);
  if (sequence != 0 && engine != nullptr) {
    try {
      if (engine->sequence_exists(sequence)) {
        engine->set_sequence_error(sequence, message);
        return;
      }
    } catch (...) {
      // Not even the message fits: the context's slot takes it without memory.
    }
  }
  context.error.set(message);
}

bool faults(Status status) {
  return status == Status::kTimeout || status == Status::kDeviceLost || status == Status::kInternal;
}

// After a failed STEP call: what a context does not survive makes it FAULTED, with this message as
// the first cause. The engine knows of failures inside its passes already.
void note_fault(dsv3_context& context, Status status, const char* message) noexcept {
  Engine* const engine = context.engine.load(std::memory_order_acquire);
  if (engine == nullptr || context.state.load() == DSV3_CONTEXT_FAULTED) return;
  try {
    if (!faults(status) && !engine->is_faulted()) return;
    context.first_cause.set(message);
    context.state.store(DSV3_CONTEXT_FAULTED);
    engine->fault(status, message);
  } catch (...) {
    // Its generations stay without their end event; everything but destroy is refused now.
  }
}

Status run_body(dsv3_context& context, const Call& call, void (*body)(void*), void* data) noexcept {
  try {
    check_needs(context, call.needs);
    body(data);
    return Status::kOk;
  } catch (...) {
    char message[kMessageBytes];
    const Status status = status_of_current_exception(message, sizeof(message));
    if (call.call_class == CallClass::kStep) note_fault(context, status, message);
    if (!call.keeps_message) store_message(context, call.sequence, message);
    return status;
  }
}

// Host code that waited for the end of the call: user_data that goes back, and log lines. Only STEP
// calls make lines: another call that came by would take them to its own thread.
void deliver(dsv3_context& context, bool is_step, uint64_t host_fp) noexcept {
  const HostFpEnvScope host(host_fp);
  context.released_targets.drain();
  if (!is_step || !context.log.has_value()) return;
  try {
    context.log->flush();
  } catch (...) {
    // The sink is the host's and must not throw: its lines are lost, not the call.
  }
}

}  // namespace

Status status_of_current_exception(char* message, size_t message_bytes) noexcept {
  try {
    throw;
  } catch (const Error& error) {
    copy_message(message, message_bytes, error.what());
    return error.status();
  } catch (const std::bad_alloc&) {
    copy_message(message, message_bytes, "out of memory");
    return Status::kOutOfMemory;
  } catch (const std::exception& error) {
    copy_message(message, message_bytes, error.what());
    return Status::kInternal;
  } catch (...) {
    copy_message(message, message_bytes, "an exception of unknown kind");
    return Status::kInternal;
  }
}

dsv3_status run_call_ref(dsv3_context* context, const Call& call, void (*body)(void* data),
                         void* data) noexcept {
  if (!is_context(context)) return DSV3_INVALID_ARGUMENT;
  const InsideScope inside(*context);
  const FpEnvScope fp_env;
  const bool is_step = call.call_class == CallClass::kStep;
  if (is_step && !context->gate.try_enter()) {
    store_message(*context, call.sequence, "another STEP call is running in this context");
    return DSV3_BUSY;
  }
  Status status = Status::kOk;
  {
    const HostHooks::CallFp call_fp(context->hooks, is_step, fp_env.host());
    {
      const HostGpuScope host_gpu(context->options.device == DSV3_DEVICE_CUDA);
      status = run_body(*context, call, body, data);
    }
    // Inside the gate: also for these callbacks the call is running.
    deliver(*context, is_step, fp_env.host());
  }
  if (is_step) context->gate.leave();
  return static_cast<dsv3_status>(status);
}

size_t cut_at_character(std::string_view text, size_t bytes_max) noexcept {
  if (text.size() <= bytes_max) return text.size();
  size_t bytes = bytes_max;
  while (bytes > 0 && (static_cast<uint8_t>(text[bytes]) & 0xC0) == 0x80) --bytes;
  return bytes;
}

bool is_context(const dsv3_context* context) noexcept {
  return context != nullptr &&
         context->magic.load(std::memory_order_relaxed) == dsv3_context::kMagic;
}

void want_pointer(const void* pointer, const char* name) {
  if (pointer == nullptr) fail(Status::kInvalidArgument, name, " is NULL");
}

void want_array(const void* pointer, uint64_t count, uint64_t count_max, const char* name) {
  if (count > count_max) {
    fail(Status::kLimit, name, ": found ", count, " elements, wanted at most ", count_max);
  }
  if (count != 0) want_pointer(pointer, name);
}

void want_flags(uint32_t flags, uint32_t known) {
  if ((flags & ~known) != 0) {
    fail(Status::kInvalidArgument, "flags is ", flags, ", wanted bits of ", known, " only");
  }
}

}  // namespace dsv3
