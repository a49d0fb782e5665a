// Log lines to the host's callback, never to a stream. Formatting and levels are spdlog's, kept
// behind this header (log.cpp is the only file that includes it).
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "base/error.h"

namespace dsv3 {

enum class LogLevel : int32_t {
  kTrace = 0,
  kDebug = 1,
  kInfo = 2,
  kWarn = 3,
  kError = 4,
  kOff = 5
};

// Host sink: called only on a thread that is inside a host call of the owning context.
struct LogSink {
  void (*write)(void* user_data, int32_t level, const char* message, uint64_t bytes) = nullptr;
  void* user_data = nullptr;
  LogLevel level = LogLevel::kInfo;
};

// Thread safe. Lines written by workers are queued (at most 1024; the rest are counted and the
// count is logged) and delivered by flush() on the host's thread.
class Log {
 public:
  explicit Log(const LogSink& sink);
  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  bool enabled(LogLevel level) const;
  // From any thread: queues the line.
  void write(LogLevel level, std::string_view message);
  // On the host's thread: hands queued lines to the sink, in order. Never called under a lock.
  void flush();

  template <typename... Parts>
  void info(const Parts&... parts) {
    if (enabled(LogLevel::kInfo)) write(LogLevel::kInfo, str(parts...));
  }
  template <typename... Parts>
  void warn(const Parts&... parts) {
    if (enabled(LogLevel::kWarn)) write(LogLevel::kWarn, str(parts...));
  }

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dsv3
