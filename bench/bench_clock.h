// What time is it, for the benchmark's own use?
#pragma once

#include <chrono>

namespace dsv3::bench {

// Seconds of a clock that never goes back.
inline double now() {
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(since).count();
}

}  // namespace dsv3::bench
