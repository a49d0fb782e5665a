// Goal: every task runs once, errors come back, and no thread exists, spins or takes signals where
// the contract says none does. Method: tens of thousands of tiny loops (also under TSan),
// /proc/self/task.
#include "base/thread_pool.h"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>

#include <array>
#include <atomic>
#include <fstream>
#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/fp_env.h"
#include "support/expect_error.h"
#include "support/failing_new.h"

namespace dsv3 {
namespace {

// Kernel ids of this process's threads.
std::set<std::string> thread_ids() {
  std::set<std::string> ids;
  DIR* const folder = opendir("/proc/self/task");
  while (const dirent* entry = readdir(folder)) {
    if (entry->d_name[0] != '.') ids.insert(entry->d_name);
  }
  closedir(folder);
  return ids;
}

std::string status_field(const std::string& id, const std::string& field) {
  std::ifstream status("/proc/self/task/" + id + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind(field + ":", 0) != 0) continue;
    return line.substr(line.find_first_not_of(" \t", field.size() + 1));
  }
  return "";
}

ThreadPoolOptions own(uint32_t threads) {
  ThreadPoolOptions options;
  options.threads = threads;
  return options;
}

TEST(ThreadPool, RunsEveryTaskOnceThroughManyTinyLoops) {
  for (const uint32_t threads : {1u, 2u, 3u, 5u}) {
    ThreadPool pool(own(threads));
    ASSERT_EQ(pool.workers(), threads);
    pool.enter();
    std::vector<uint32_t> counts(7);
    for (uint32_t loop = 0; loop < 10000; ++loop) {
      const uint32_t tasks = loop % 8;
      pool.run(tasks, [&](uint32_t task, uint32_t worker) {
        if (worker < threads) ++counts[task];  // a worker out of range shows as a missing count
      });
    }
    pool.leave();
    for (uint32_t task = 0; task < 7; ++task) EXPECT_EQ(counts[task], 1250 * (7 - task)) << task;
  }
}

TEST(ThreadPool, WorkersBelongToOneThreadInALoop) {
  ThreadPool pool(own(4));
  std::array<std::thread::id, 4> owner{};
  std::array<uint64_t, 4> sums{};
  pool.run(2000, [&](uint32_t task, uint32_t worker) {
    if (owner[worker] == std::thread::id()) owner[worker] = std::this_thread::get_id();
    if (owner[worker] == std::this_thread::get_id()) sums[worker] += task;
  });
  EXPECT_EQ(sums[0] + sums[1] + sums[2] + sums[3], 1999000u);
  if (owner[0] != std::thread::id()) {
    EXPECT_EQ(owner[0], std::this_thread::get_id());
  }
}

TEST(ThreadPool, RethrowsTheFirstErrorAndGoesOn) {
  ThreadPool pool(own(3));
  for (int loop = 0; loop < 500; ++loop) {
    EXPECT_TRUE(throws_error(Status::kIo, {"task "}, [&] {
      pool.run(50, [](uint32_t task, uint32_t) {
        if (task % 10 == 3) fail(Status::kIo, "task ", task);
      });
    }));
    std::atomic<uint32_t> count{0};
    pool.run(50, [&](uint32_t, uint32_t) { ++count; });
    ASSERT_EQ(count, 50u);
  }
}

TEST(ThreadPool, OneThreadOrTheHostsLoopMakesNoThread) {
  const auto before = thread_ids();
  ThreadPool alone(own(1));
  ThreadPoolOptions options = own(4);
  options.host.run = [](void*, uint32_t, void (*)(void*, uint32_t, uint32_t), void*) {};
  options.host.workers_max = 2;
  const ThreadPool host(options);
  EXPECT_EQ(thread_ids(), before);
  std::thread::id ran;
  alone.run(3, [&](uint32_t, uint32_t) { ran = std::this_thread::get_id(); });
  EXPECT_EQ(ran, std::this_thread::get_id());
}

TEST(ThreadPool, WorkersAreNamedBlockSignalsAndEnd) {
  const auto before = thread_ids();
  sigset_t mask_before;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask_before);
  {
    const ThreadPool pool(own(3));
    auto ids = thread_ids();
    for (const std::string& id : before) ids.erase(id);
    ASSERT_EQ(ids.size(), 2u);
    for (const std::string& id : ids) {
      // All but KILL and STOP, which cannot be blocked, and the two the C library keeps.
      const uint64_t blocked = std::stoull(status_field(id, "SigBlk"), nullptr, 16);
      EXPECT_EQ(blocked | 1u << (SIGKILL - 1) | 1u << (SIGSTOP - 1) | 3ull << 31, ~0ull) << id;
      // The name appears once the thread runs.
      for (int i = 0; i < 2000 && status_field(id, "Name") != "dsv3-worker"; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      EXPECT_EQ(status_field(id, "Name"), "dsv3-worker");
    }
  }
  sigset_t mask_after;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask_after);
  EXPECT_EQ(sigismember(&mask_after, SIGUSR1), sigismember(&mask_before, SIGUSR1));
}

// A lost wake-up would hang here: the caller waits inside its task for the worker to take the
// other.
TEST(ThreadPool, SleepersWakeForALoopAndForItsEnd) {
  ThreadPool pool(own(2));
  for (uint32_t loop = 0; loop < 300; ++loop) {
    if (loop % 3 == 0) pool.enter();
    std::atomic<uint32_t> started{0};
    uint32_t sum = 0;  // of the worker: complete when run() returns, or the sleep was cut short
    pool.run(2, [&](uint32_t, uint32_t worker) {
      ++started;
      while (started != 2) std::this_thread::yield();
      if (worker == 0) return;
      // Around the time after which the caller and a worker stop to spin, and far beyond.
      for (uint32_t i = 0; i < loop % 7; ++i) {
        std::this_thread::sleep_for(std::chrono::microseconds(loop % 5 == 0 ? 100 : 1));
      }
      sum = 1;
    });
    EXPECT_EQ(sum, 1u) << loop;
    if (loop % 3 == 1) pool.leave();
  }
}

TEST(ThreadPool, IdleWorkersUseNoProcessor) {
  ThreadPool pool(own(4));
  pool.enter();
  std::atomic<uint32_t> count{0};
  pool.run(100, [&](uint32_t, uint32_t) { ++count; });
  const auto processor_us = [] {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_utime.tv_sec * 1000000 + usage.ru_utime.tv_usec +
           usage.ru_stime.tv_sec * 1000000 + usage.ru_stime.tv_usec;
  };
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const auto begin = processor_us();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_LT(processor_us() - begin, 40000);
  pool.leave();
}

TEST(ThreadPool, BodiesComputeWithTheLibrarysFloatingPoint) {
  // Flush to zero in the host's thread before the workers start: they must not inherit it.
  const uint64_t clean = fp_env_read();
  fp_env_write(fp_env_library() | 0x8040);
  ThreadPool pool(own(3));
  fp_env_write(clean);
  std::atomic<uint32_t> wrong{0};
  const FpEnvScope scope;
  volatile float tiny = 0x1p-126f;
  for (int loop = 0; loop < 200; ++loop) {
    pool.run(30, [&](uint32_t, uint32_t) {
      if (tiny * 0.5f == 0.0f) ++wrong;
    });
  }
  EXPECT_EQ(wrong, 0u);
}

// A host's loop on two fresh threads a call, with settings of its own.
struct HostLoop {
  uint32_t skip = 0;  // tasks that it forgets

  static void run(void* user_data, uint32_t tasks, void (*body)(void*, uint32_t, uint32_t),
                  void* body_data) {
    const uint32_t skip = static_cast<HostLoop*>(user_data)->skip;
    const auto part = [=](uint32_t worker) {
      fp_env_write(fp_env_library() | 0x8040);
      for (uint32_t task = worker; task + skip < tasks; task += 2) body(body_data, task, worker);
    };
    std::thread other(part, 1);
    const uint64_t saved = fp_env_read();
    part(0);
    fp_env_write(saved);
    other.join();
  }
  ThreadPoolOptions options() {
    ThreadPoolOptions out;
    out.host = {run, this, 2};
    return out;
  }
};

TEST(ThreadPool, RunsOnTheHostsLoop) {
  HostLoop host;
  ThreadPool pool(host.options());
  EXPECT_EQ(pool.workers(), 2u);
  std::vector<uint32_t> counts(100);
  std::atomic<uint32_t> wrong{0};
  volatile float tiny = 0x1p-126f;
  pool.run(100, [&](uint32_t task, uint32_t) {
    ++counts[task];
    if (tiny * 0.5f == 0.0f) ++wrong;
  });
  EXPECT_EQ(counts, std::vector<uint32_t>(100, 1));
  EXPECT_EQ(wrong, 0u);
  EXPECT_TRUE(throws_error(Status::kLimit, {"from a task"}, [&] {
    pool.run(10, [](uint32_t, uint32_t) { fail(Status::kLimit, "from a task"); });
  }));
  host.skip = 3;
  EXPECT_TRUE(throws_error(Status::kInvalidArgument, {"ran 7 tasks", "wanted 10"},
                           [&] { pool.run(10, [](uint32_t, uint32_t) {}); }));
}

TEST(ThreadPool, RefusesImpossibleOptions) {
  EXPECT_TRUE(throws_error(Status::kInvalidArgument, {"threads is 0"}, [] { ThreadPool(own(0)); }));
  EXPECT_TRUE(
      throws_error(Status::kInvalidArgument, {"4000000000"}, [] { ThreadPool(own(4000000000u)); }));
  HostLoop host;
  ThreadPoolOptions options = host.options();
  options.host.workers_max = 0;
  EXPECT_TRUE(
      throws_error(Status::kInvalidArgument, {"workers_max"}, [&] { ThreadPool{options}; }));
}

TEST(ThreadPool, ConstructionSurvivesEveryFailedAllocation) {
  const uint64_t live = FailingNew::blocks_live();
  bool reached_end = false;
  for (uint64_t n = 0; n < 100 && !reached_end; ++n) {
    const FailingNew failing(n);
    try {
      const ThreadPool pool(own(3));
      reached_end = true;
    } catch (const std::bad_alloc&) {
    }
  }
  EXPECT_TRUE(reached_end);
  EXPECT_EQ(FailingNew::blocks_live(), live);
}

}  // namespace
}  // namespace dsv3
