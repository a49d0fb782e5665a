// The one exception guard: every call into a context goes through run_call, which checks the handle
// and the calling class, and turns whatever happens inside into a status and a message.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "dsv3.h"
#include "engine/types.h"

namespace dsv3 {

enum class CallClass : uint8_t { kShared, kStep };

// What state the context must be in.
enum class CallNeeds : uint8_t {
  kNothing,  // error, info, stats
  kUsable,   // options accepted, not faulted
  kModel,    // kUsable, and loaded
  kEvents,   // loaded, faulted or not
};

struct Call {
  CallClass call_class = CallClass::kShared;
  CallNeeds needs = CallNeeds::kModel;
  SequenceId sequence = 0;     // who keeps the message; 0 = the context
  bool keeps_message = false;  // a failure leaves the messages alone
};

dsv3_status run_call_ref(dsv3_context* context, const Call& call, void (*body)(void* data),
                         void* data) noexcept;

// Runs body() inside the guard.
template <typename Body>
dsv3_status run_call(dsv3_context* context, const Call& call, Body&& body) noexcept {
  return run_call_ref(
      context, call, [](void* data) { (*static_cast<std::remove_reference_t<Body>*>(data))(); },
      &body);
}

// Status and message of the exception being handled. The message goes to `message`, cut to fit.
Status status_of_current_exception(char* message, size_t message_bytes) noexcept;

// Bytes of the longest beginning of `text` that fits and ends between characters.
size_t cut_at_character(std::string_view text, size_t bytes_max) noexcept;

bool is_context(const dsv3_context* context) noexcept;

// INVALID_ARGUMENT naming the parameter.
void want_pointer(const void* pointer, const char* name);
// `pointer` may be NULL when `count` is 0; LIMIT when count is over count_max.
void want_array(const void* pointer, uint64_t count, uint64_t count_max, const char* name);
// INVALID_ARGUMENT when `flags` has bits outside of `known`.
void want_flags(uint32_t flags, uint32_t known);

}  // namespace dsv3
