// The monotonic clock of the standard library.
#include "base/clock.h"

#include <chrono>

namespace dsv3 {

uint64_t SteadyClock::now_us() {
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(since).count());
}

}  // namespace dsv3
