// Checked arithmetic for every size that comes from a file or a caller.
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>
#include <utility>

#include "base/error.h"

namespace dsv3 {

template <std::integral T>
std::optional<T> checked_add(T a, T b) {
  T out;
  return __builtin_add_overflow(a, b, &out) ? std::nullopt : std::optional<T>(out);
}

template <std::integral T>
std::optional<T> checked_mul(T a, T b) {
  T out;
  return __builtin_mul_overflow(a, b, &out) ? std::nullopt : std::optional<T>(out);
}

// a * b or Error{LIMIT} naming `what`.
template <std::integral T>
T mul_or_fail(T a, T b, const char* what) {
  const auto out = checked_mul(a, b);
  if (!out) fail(Status::kLimit, what, ": ", a, " * ", b, " does not fit its integer type");
  return *out;
}

// a + b or Error{LIMIT} naming `what`.
template <std::integral T>
T add_or_fail(T a, T b, const char* what) {
  const auto out = checked_add(a, b);
  if (!out) fail(Status::kLimit, what, ": ", a, " + ", b, " does not fit its integer type");
  return *out;
}

// Integer conversion that refuses to change the value: Error{LIMIT} naming `what`.
template <std::integral To, std::integral From>
To narrow(From value, const char* what) {
  if (!std::in_range<To>(value)) {
    fail(Status::kLimit, what, ": ", value, " does not fit its integer type");
  }
  return static_cast<To>(value);
}

template <std::integral T>
constexpr T ceil_div(T a, T b) {
  return a / b + (a % b != 0 ? 1 : 0);
}

// The smallest multiple of `step` (a power of two) that is not below `value`.
constexpr uint64_t align_up(uint64_t value, uint64_t step) {
  return (value + step - 1) & ~(step - 1);
}

}  // namespace dsv3
