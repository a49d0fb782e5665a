// Time as a value the tests can own.
#pragma once

#include <cstdint>

namespace dsv3 {

// Microseconds since an arbitrary start; monotonic. Thread safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual uint64_t now_us() = 0;
};

// The machine's monotonic clock.
class SteadyClock final : public Clock {
 public:
  uint64_t now_us() override;
};

}  // namespace dsv3
