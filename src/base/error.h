// How failures travel: expected outcomes are values, wrong requests and broken files throw Error,
// defects are DSV3_ASSERT (which also throws, INTERNAL). One guard at the ABI turns all into a
// status.
#pragma once

#include <cstdint>
#include <exception>
#include <string>
#include <string_view>
#include <utility>

namespace dsv3 {

// The same numbers as dsv3_status in include/dsv3.h (static_asserts in src/api/api_guard.cpp).
enum class Status : int32_t {
  kOk = 0,
  kInvalidArgument = 1,
  kInvalidModel = 2,
  kUnsupported = 3,
  kOutOfMemory = 4,
  kLimit = 5,
  kBusy = 6,
  kCancelled = 7,
  kTimeout = 8,
  kIo = 9,
  kDeviceLost = 10,
  kFaulted = 11,
  kInternal = 12,
};

class Error : public std::exception {
 public:
  Error(Status status, std::string message) : status_(status), message_(std::move(message)) {}
  const char* what() const noexcept override { return message_.c_str(); }
  Status status() const noexcept { return status_; }
  const std::string& message() const noexcept { return message_; }

 private:
  Status status_;
  std::string message_;
};

namespace text_detail {
void append(std::string& out, std::string_view value);
void append(std::string& out, int64_t value);
void append(std::string& out, uint64_t value);
void append(std::string& out, double value);
inline void append(std::string& out, const char* value) { append(out, std::string_view(value)); }
inline void append(std::string& out, const std::string& value) {
  append(out, std::string_view(value));
}
inline void append(std::string& out, char value) { out.push_back(value); }
inline void append(std::string& out, bool value) { append(out, value ? "true" : "false"); }
inline void append(std::string& out, int32_t value) { append(out, static_cast<int64_t>(value)); }
inline void append(std::string& out, uint32_t value) { append(out, static_cast<uint64_t>(value)); }
inline void append(std::string& out, uint8_t value) { append(out, static_cast<uint64_t>(value)); }
inline void append(std::string& out, long long value) { append(out, static_cast<int64_t>(value)); }
inline void append(std::string& out, unsigned long long value) {
  append(out, static_cast<uint64_t>(value));
}
inline void append(std::string& out, float value) { append(out, static_cast<double>(value)); }
}  // namespace text_detail

// Joins its arguments into one string: str("found ", 3, ", wanted ", 4).
template <typename... Parts>
std::string str(const Parts&... parts) {
  std::string out;
  (text_detail::append(out, parts), ...);
  return out;
}

// Throws Error. The message names the thing, the value found and the value wanted.
template <typename... Parts>
[[noreturn]] void fail(Status status, const Parts&... parts) {
  throw Error(status, str(parts...));
}

[[noreturn]] void fail_assert(const char* expression, const char* file, int line);

}  // namespace dsv3

// For defects only, never for input. Throws INTERNAL: the host process lives on.
#define DSV3_ASSERT(expression)                             \
  do {                                                      \
    if (!(expression)) {                                    \
      ::dsv3::fail_assert(#expression, __FILE__, __LINE__); \
    }                                                       \
  } while (false)
