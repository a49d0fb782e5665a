// The only place that starts threads: a small pool whose caller takes part in the work.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

namespace dsv3 {

inline constexpr uint32_t kThreadsMax = 1024;

// A non-owning callable reference: void(uint32_t task, uint32_t worker). No allocation, no virtual.
class TaskRef {
 public:
  template <typename Callable>
  explicit TaskRef(const Callable& callable)
      : object_(&callable), invoke_([](const void* object, uint32_t task, uint32_t worker) {
          (*static_cast<const Callable*>(object))(task, worker);
        }) {}
  void operator()(uint32_t task, uint32_t worker) const { invoke_(object_, task, worker); }

 private:
  const void* object_;
  void (*invoke_)(const void*, uint32_t, uint32_t);
};

// How the host runs our loops instead of our own threads (design §3 "host parallel_for").
struct HostParallelFor {
  // Calls body(body_data, task, worker) for every task in [0, tasks), worker < workers_max,
  // from any threads, and returns when all are done. Null: own threads.
  void (*run)(void* user_data, uint32_t tasks,
              void (*body)(void* body_data, uint32_t task, uint32_t worker),
              void* body_data) = nullptr;
  void* user_data = nullptr;
  uint32_t workers_max = 0;
};

struct ThreadPoolOptions {
  uint32_t threads = 1;        // including the caller; 1 = the caller alone, no thread is made
  uint64_t affinity_mask = 0;  // bit i: worker threads may run on processor i; 0 = anywhere
  HostParallelFor host;        // when run is set, no threads are made
};

// run() is called by one thread at a time (the step thread). Workers block all signals, are named
// "dsv3-worker", spin briefly between loops of one pass and sleep otherwise: nothing spins while
// no host call is inside.
class ThreadPool {
 public:
  explicit ThreadPool(
      const ThreadPoolOptions& options);  // OUT_OF_MEMORY when a thread cannot start
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // Changes threads with another pool; nothing runs in either.
  void swap(ThreadPool& other) noexcept { impl_.swap(other.impl_); }

  // Workers that may appear as `worker` in run(), the caller included (it is worker 0).
  uint32_t workers() const;

  // Calls body(task, worker) for every task in [0, tasks); returns when all are done. Tasks are
  // handed out dynamically: results must not depend on which worker ran what. The first exception
  // thrown by a body is rethrown here after all workers stopped.
  template <typename Body>
  void run(uint32_t tasks, const Body& body) {
    run_ref(tasks, TaskRef(body));
  }

  // Bracket a host call that computes: inside, workers may spin briefly between loops.
  void enter();
  void leave();

 private:
  struct Impl;
  void run_ref(uint32_t tasks, TaskRef body);

  std::unique_ptr<Impl> impl_;
};

}  // namespace dsv3
