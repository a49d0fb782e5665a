// Goal: lines reach the host in order, on its thread, and never more than the queue holds. Method:
// a recording sink, writers in several threads, a failing allocation at every place.
#include "base/log.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/failing_new.h"

namespace dsv3 {
namespace {

struct Recorder {
  std::vector<std::pair<int32_t, std::string>> lines;
  std::thread::id thread;
  Log* log = nullptr;  // to log from inside the sink

  LogSink sink(LogLevel level) {
    return {[](void* self, int32_t line_level, const char* message, uint64_t bytes) {
              auto& recorder = *static_cast<Recorder*>(self);
              recorder.lines.emplace_back(line_level, std::string(message, bytes));
              recorder.thread = std::this_thread::get_id();
              if (recorder.log != nullptr) recorder.log->write(LogLevel::kInfo, "from the sink");
            },
            this, level};
  }
};

TEST(Log, DeliversInOrderOnlyWhenFlushed) {
  Recorder recorder;
  Log log(recorder.sink(LogLevel::kInfo));
  log.info("layer ", 3, " of ", 61);
  log.warn("slow");
  log.write(LogLevel::kDebug, "not wanted");
  EXPECT_TRUE(recorder.lines.empty());
  log.flush();
  const std::vector<std::pair<int32_t, std::string>> wanted = {{2, "layer 3 of 61"}, {3, "slow"}};
  EXPECT_EQ(recorder.lines, wanted);
  log.flush();
  EXPECT_EQ(recorder.lines.size(), 2u);
}

TEST(Log, KeepsBytesAsTheyAre) {
  Recorder recorder;
  Log log(recorder.sink(LogLevel::kTrace));
  const std::string odd("{} %s \0 \xc3\xa4", 10);
  log.write(LogLevel::kTrace, odd);
  log.write(LogLevel::kError, "");
  log.flush();
  ASSERT_EQ(recorder.lines.size(), 2u);
  EXPECT_EQ(recorder.lines[0].second, odd);
  EXPECT_EQ(recorder.lines[1], (std::pair<int32_t, std::string>{4, ""}));
}

TEST(Log, CountsWhatDoesNotFit) {
  Recorder recorder;
  Log log(recorder.sink(LogLevel::kInfo));
  for (int i = 0; i < 1500; ++i) log.info(i);
  log.flush();
  ASSERT_EQ(recorder.lines.size(), 1025u);
  EXPECT_EQ(recorder.lines[1023].second, "1023");
  EXPECT_EQ(recorder.lines[1024].second, "476 log lines were dropped");
  EXPECT_EQ(recorder.lines[1024].first, 3);
}

TEST(Log, WorkersOrderIsKeptPerThread) {
  Recorder recorder;
  Log log(recorder.sink(LogLevel::kInfo));
  std::vector<std::thread> threads;
  for (int id = 0; id < 4; ++id) {
    threads.emplace_back([&log, id] {
      for (int i = 0; i < 200; ++i) log.info(id, " ", i);
    });
  }
  for (int i = 0; i < 50; ++i) log.flush();
  for (std::thread& thread : threads) thread.join();
  log.flush();
  ASSERT_EQ(recorder.lines.size(), 800u);
  EXPECT_EQ(recorder.thread, std::this_thread::get_id());
  std::vector<int> next(4);
  for (const auto& [level, text] : recorder.lines) {
    const int id = text[0] - '0';
    EXPECT_EQ(text, std::to_string(id) + " " + std::to_string(next[static_cast<size_t>(id)]++));
  }
}

TEST(Log, SinkMayLog) {
  Recorder recorder;
  Log log(recorder.sink(LogLevel::kInfo));
  recorder.log = &log;
  log.info("first");
  log.flush();
  EXPECT_EQ(recorder.lines.size(), 1u);
  log.flush();
  EXPECT_EQ(recorder.lines.size(), 2u);
}

TEST(Log, OffOrWithoutSinkIsSilent) {
  Recorder recorder;
  Log off(recorder.sink(LogLevel::kOff));
  Log none(LogSink{});
  for (Log* const log : {&off, &none}) {
    EXPECT_FALSE(log->enabled(LogLevel::kError));
    EXPECT_FALSE(log->enabled(LogLevel::kOff));
    log->write(LogLevel::kError, "x");
    log->write(LogLevel::kOff, "x");
    log->flush();
  }
  EXPECT_TRUE(recorder.lines.empty());
}

TEST(Log, ALineWithoutMemoryIsADroppedLine) {
  Recorder recorder;
  Log log(recorder.sink(LogLevel::kInfo));
  const std::string line(100, 'x');
  {
    const FailingNew failing(0);
    log.write(LogLevel::kInfo, line);
    EXPECT_TRUE(FailingNew::failed());
  }
  log.flush();
  ASSERT_EQ(recorder.lines.size(), 1u);
  EXPECT_EQ(recorder.lines[0].second, "1 log lines were dropped");
}

}  // namespace
}  // namespace dsv3
