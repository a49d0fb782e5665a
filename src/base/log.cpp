// The queue between any thread's log line and the host's sink, as a sink of spdlog.
#include "base/log.h"

#include <charconv>
#include <deque>
#include <mutex>
#include <new>
#include <string>
#include <utility>

// We stand on spdlog's messages, levels and sinks. Its logger, registry and pattern formatter stay
// out: they bring fprintf(stderr) and the local time, which reads the environment. Without thread
// ids there is no thread-local state either.
#define SPDLOG_NO_THREAD_ID  // NOLINT(readability-identifier-naming)
#include <spdlog/details/log_msg.h>
#include <spdlog/sinks/sink.h>

namespace dsv3 {
namespace {

constexpr size_t kLinesMax = 1024;

struct Line {
  LogLevel level;
  std::string text;
};

spdlog::level::level_enum to_spdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kTrace:
      return spdlog::level::trace;
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarn:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
    case LogLevel::kOff:
      break;
  }
  return spdlog::level::off;
}

LogLevel from_spdlog(spdlog::level::level_enum level) {
  switch (level) {
    case spdlog::level::trace:
      return LogLevel::kTrace;
    case spdlog::level::debug:
      return LogLevel::kDebug;
    case spdlog::level::info:
      return LogLevel::kInfo;
    case spdlog::level::warn:
      return LogLevel::kWarn;
    default:
      return LogLevel::kError;
  }
}

// Keeps lines until the host's thread takes them. The host adds its own time and place: a line is
// its message and nothing else, so formatters are refused.
class QueueSink final : public spdlog::sinks::sink {
 public:
  void log(const spdlog::details::log_msg& message) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (lines_.size() >= kLinesMax) {
      ++dropped_;
      return;
    }
    try {
      lines_.push_back({from_spdlog(message.level),
                        std::string(message.payload.data(), message.payload.size())});
    } catch (const std::bad_alloc&) {
      ++dropped_;
    }
  }
  void flush() override {}
  void set_pattern(const std::string&) override {}
  void set_formatter(std::unique_ptr<spdlog::formatter>) override {}

  // Empties the queue into `out`; returns how many lines were dropped since the last call.
  uint64_t take(std::deque<Line>& out) {
    const std::lock_guard<std::mutex> lock(mutex_);
    out.swap(lines_);
    return std::exchange(dropped_, 0);
  }

 private:
  std::mutex mutex_;
  std::deque<Line> lines_;  // guarded by mutex_
  uint64_t dropped_ = 0;    // guarded by mutex_
};

}  // namespace

struct Log::Impl {
  explicit Impl(const LogSink& sink_options) : host(sink_options) {
    queue.set_level(to_spdlog(host.write != nullptr ? host.level : LogLevel::kOff));
  }

  void deliver(LogLevel level, std::string_view text) const {
    host.write(host.user_data, static_cast<int32_t>(level), text.data(), text.size());
  }

  const LogSink host;
  QueueSink queue;
};

Log::Log(const LogSink& sink) : impl_(std::make_unique<Impl>(sink)) {}
Log::~Log() = default;

bool Log::enabled(LogLevel level) const {
  return level != LogLevel::kOff && impl_->queue.should_log(to_spdlog(level));
}

void Log::write(LogLevel level, std::string_view message) {
  if (!enabled(level)) return;
  const spdlog::string_view_t text(message.data(), message.size());
  impl_->queue.log(spdlog::details::log_msg("dsv3", to_spdlog(level), text));
}

void Log::flush() {
  if (impl_->host.write == nullptr) return;
  std::deque<Line> lines;
  const uint64_t dropped = impl_->queue.take(lines);
  for (const Line& line : lines) impl_->deliver(line.level, line.text);
  if (dropped == 0 || !enabled(LogLevel::kWarn)) return;
  // No allocation: lines may be missing because there was no memory.
  char text[64];
  const char* const end = std::to_chars(text, text + 24, dropped).ptr;
  const std::string_view tail = " log lines were dropped";
  const auto bytes = static_cast<size_t>(end - text);
  tail.copy(text + bytes, tail.size());
  impl_->deliver(LogLevel::kWarn, std::string_view(text, bytes + tail.size()));
}

}  // namespace dsv3
