// Goal: the host's hooks are called as promised and its floating-point settings survive. Method:
// counting hooks, unusual rounding and flush-to-zero around every call, a host parallel_for,
// user_data given back exactly once.
#include <atomic>
#include <cfenv>
#include <cstdlib>
#include <map>
#include <mutex>
#include <thread>

#include "api_model.h"

#if defined(__x86_64__)
#  include <xmmintrin.h>
#endif

namespace dsv3_test {
namespace {

// Flush-to-zero and rounding of this thread, as one word.
uint32_t float_settings() {
#if defined(__x86_64__)
  return _mm_getcsr() & ~0x3Fu;  // the sticky flags may change
#else
  return static_cast<uint32_t>(std::fegetround());
#endif
}

class UnusualFloats {
 public:
  UnusualFloats() : rounding_(std::fegetround()) {
    std::fesetround(FE_UPWARD);
#if defined(__x86_64__)
    csr_ = _mm_getcsr();
    _mm_setcsr(csr_ | 0x8040u);  // flush to zero, denormals are zero
#endif
    wanted = float_settings();
  }
  ~UnusualFloats() {
#if defined(__x86_64__)
    _mm_setcsr(csr_);
#endif
    std::fesetround(rounding_);
  }
  uint32_t wanted;

 private:
  const int rounding_;
  uint32_t csr_ = 0;
};

struct Host {
  std::mutex mutex;
  std::map<void*, uint64_t> blocks;
  uint64_t allocations = 0;
  uint64_t lines = 0;
  uint64_t reports = 0;
  uint64_t loops = 0;
  int freed = 0;
  uint32_t floats_wanted = 0;
  std::thread::id thread;

  void check() const {
    EXPECT_EQ(float_settings(), floats_wanted);
    EXPECT_EQ(std::this_thread::get_id(), thread);
  }
  static Host& of(void* user_data) { return *static_cast<Host*>(user_data); }

  static void* allocate(void* user_data, uint64_t bytes, uint64_t alignment) {
    Host& host = of(user_data);
    const std::lock_guard<std::mutex> lock(host.mutex);
    EXPECT_EQ(float_settings(), host.floats_wanted);
    ++host.allocations;
    void* const block =
        std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
    host.blocks[block] = bytes;
    return block;
  }
  static void release(void* user_data, void* block, uint64_t bytes) {
    Host& host = of(user_data);
    const std::lock_guard<std::mutex> lock(host.mutex);
    EXPECT_EQ(host.blocks[block], bytes);
    host.blocks.erase(block);
    std::free(block);
  }
  static void write(void* user_data, int32_t level, const char* message, uint64_t bytes) {
    Host& host = of(user_data);
    host.check();
    EXPECT_GE(level, DSV3_LOG_INFO);
    EXPECT_EQ(std::string(message, bytes).find('\0'), std::string::npos);
    ++host.lines;
  }
  static int32_t report(void* user_data, uint64_t bytes_done, uint64_t bytes_total) {
    of(user_data).check();
    EXPECT_LE(bytes_done, bytes_total);
    ++of(user_data).reports;
    return 0;
  }
  static void parallel_for(void* user_data, uint32_t tasks, void (*body)(void*, uint32_t, uint32_t),
                           void* body_data) {
    Host& host = of(user_data);
    host.check();
    ++host.loops;
    std::thread other([&] {
      for (uint32_t task = 1; task < tasks; task += 2) body(body_data, task, 1);
    });
    for (uint32_t task = 0; task < tasks; task += 2) body(body_data, task, 0);
    other.join();
    EXPECT_EQ(float_settings(), host.floats_wanted);
  }
  static void give_back(void* user_data) {
    of(user_data).check();
    ++of(user_data).freed;
  }
};

struct Hooks {
  explicit Hooks(Host* host) {
    allocator.struct_size = sizeof(allocator);
    allocator.allocate = &Host::allocate;
    allocator.release = &Host::release;
    log.struct_size = sizeof(log);
    log.level = DSV3_LOG_INFO;
    log.write = &Host::write;
    progress.struct_size = sizeof(progress);
    progress.report = &Host::report;
    threads.struct_size = sizeof(threads);
    threads.parallel_for = &Host::parallel_for;
    threads.workers_max = 2;
    allocator.user_data = log.user_data = progress.user_data = threads.user_data = host;
    allocator.free_user_data = log.free_user_data = &Host::give_back;
    progress.free_user_data = threads.free_user_data = &Host::give_back;
  }
  void set(dsv3_context_options* options) const {
    options->allocator = &allocator;
    options->log = &log;
    options->progress = &progress;
    options->threads = &threads;
  }
  dsv3_allocator allocator{};
  dsv3_log log{};
  dsv3_progress progress{};
  dsv3_threads threads{};
};

struct CheckedEvents {
  Host* host;
  Heard heard;
  static int32_t hear(void* user_data, const dsv3_event* event) {
    auto* const self = static_cast<CheckedEvents*>(user_data);
    self->host->check();
    return Heard::hear(&self->heard, event);
  }
  static void give_back(void* user_data) {
    auto* const self = static_cast<CheckedEvents*>(user_data);
    self->host->check();
    ++self->host->freed;
  }
};

TEST(HostHooks, AllAreCalledWithTheHostsFloats) {
  const Context plain = open_sample();
  const dsv3_sequence reference = start_text(plain.get(), "HAMLET:\n");
  Heard wanted;
  const dsv3_generate_options plain_options = wanted.options(12);
  ASSERT_EQ(dsv3_generate(plain.get(), reference, &plain_options, nullptr), DSV3_OK);

  const std::string folder = DSV3_SAMPLE_MODEL;
  const UnusualFloats floats;
  Host host;
  host.floats_wanted = floats.wanted;
  host.thread = std::this_thread::get_id();
  {
    dsv3_context_options options = options_for(folder);
    const Hooks hooks(&host);
    hooks.set(&options);
    const Context context = open(options);
    EXPECT_EQ(float_settings(), floats.wanted);
    const dsv3_sequence sequence = start_text(context.get(), "HAMLET:\n");
    CheckedEvents events{&host, {}};
    dsv3_generate_options generate = events.heard.options(12);
    generate.callback = &CheckedEvents::hear;
    generate.user_data = &events;
    generate.free_user_data = &CheckedEvents::give_back;
    ASSERT_EQ(dsv3_generate(context.get(), sequence, &generate, nullptr), DSV3_OK);
    EXPECT_EQ(float_settings(), floats.wanted);
    EXPECT_EQ(events.heard.text, wanted.text);  // unusual settings change nothing inside
    EXPECT_EQ(host.freed, 1);
    EXPECT_GT(host.allocations, 2u);
    EXPECT_GT(host.lines, 0u);
    EXPECT_GT(host.reports, 1u);
    EXPECT_GT(host.loops, 10u);

    // Threads of its own in place of the host's: its struct goes back at once.
    const dsv3_threads own = thread_count(2);
    ASSERT_EQ(dsv3_context_set_threads(context.get(), &own), DSV3_OK);
    EXPECT_EQ(host.freed, 2);
    dsv3_threads many = thread_count(3);
    EXPECT_EQ(dsv3_context_set_threads(context.get(), &many), DSV3_LIMIT);
    EXPECT_EQ(dsv3_step(context.get(), 0, nullptr), DSV3_OK);
    EXPECT_EQ(float_settings(), floats.wanted);
  }
  EXPECT_EQ(host.freed, 5);
  EXPECT_TRUE(host.blocks.empty());
}

// A parallel_for that forgets tasks leaves a pass that nobody can repair: the context is FAULTED,
// tells why, ends every generation once, and can be destroyed.
TEST(HostHooks, BrokenParallelForFaults) {
  struct Broken {
    bool forgets = false;
    static void run(void* user_data, uint32_t tasks, void (*body)(void*, uint32_t, uint32_t),
                    void* body_data) {
      const bool forgets = static_cast<Broken*>(user_data)->forgets;
      for (uint32_t task = forgets ? 1 : 0; task < tasks; ++task) body(body_data, task, 0);
    }
  } broken;
  dsv3_threads threads = thread_count(0);
  threads.parallel_for = &Broken::run;
  threads.user_data = &broken;
  threads.workers_max = 1;
  const std::string folder = DSV3_SAMPLE_MODEL;
  dsv3_context_options options = options_for(folder);
  options.threads = &threads;
  const Context context = open(options);
  Heard pushed;
  const dsv3_sequence push = start_text(context.get(), "MACBETH:\n");
  const dsv3_generate_options push_options = pushed.options(20);
  ASSERT_EQ(dsv3_sequence_generate(context.get(), push, &push_options), DSV3_OK);
  const dsv3_sequence pull = start_text(context.get(), "BANQUO:\n");
  const dsv3_generate_options pull_options = greedy(20);
  ASSERT_EQ(dsv3_sequence_generate(context.get(), pull, &pull_options), DSV3_OK);
  ASSERT_EQ(dsv3_step(context.get(), 0, nullptr), DSV3_OK);
  broken.forgets = true;
  EXPECT_NE(dsv3_step(context.get(), 0, nullptr), DSV3_OK);
  EXPECT_NE(message_of(context.get()).find("parallel_for"), std::string::npos);
  broken.forgets = false;

  EXPECT_EQ(pushed.ends, 1);
  EXPECT_EQ(pushed.finish, DSV3_FINISH_ERROR);
  dsv3_event event{};
  event.struct_size = sizeof(event);
  while (event.kind != DSV3_EVENT_END) {
    ASSERT_EQ(dsv3_next_event(context.get(), 0, &event), DSV3_OK);
    ASSERT_NE(event.kind, DSV3_EVENT_NONE);
  }
  EXPECT_EQ(event.finish, DSV3_FINISH_ERROR);
  EXPECT_NE(event.status, DSV3_OK);
  EXPECT_EQ(dsv3_step(context.get(), 0, nullptr), DSV3_FAULTED);
  EXPECT_NE(message_of(context.get()).find("parallel_for"), std::string::npos);
  uint64_t position = 0;
  EXPECT_EQ(dsv3_sequence_position(context.get(), pull, &position), DSV3_FAULTED);
  EXPECT_NE(message_of(context.get(), pull).find("parallel_for"), std::string::npos);
  dsv3_info info{};
  info.struct_size = sizeof(info);
  EXPECT_EQ(dsv3_context_info(context.get(), &info), DSV3_OK);
  EXPECT_EQ(info.state, DSV3_CONTEXT_FAULTED);
}

// Destroy gives back the user_data of a generation that never ended.
TEST(HostHooks, UnfinishedGenerationGivesBack) {
  int freed = 0;
  {
    const Context context = open_sample();
    const dsv3_sequence sequence = start_text(context.get(), "HAMLET:\n");
    dsv3_generate_options options = greedy(0);
    options.user_data = &freed;
    options.free_user_data = [](void* user_data) { ++*static_cast<int*>(user_data); };
    ASSERT_EQ(dsv3_sequence_generate(context.get(), sequence, &options), DSV3_OK);
    ASSERT_EQ(dsv3_step(context.get(), 0, nullptr), DSV3_OK);
    EXPECT_EQ(freed, 0);
  }
  EXPECT_EQ(freed, 1);
}

// Calls that are refused at the door give user_data back as well.
TEST(HostHooks, RefusedCallsGiveBack) {
  int freed = 0;
  const auto count = [](void* user_data) { ++*static_cast<int*>(user_data); };
  dsv3_generate_options generate = greedy(1);
  generate.user_data = generate.mask_user_data = &freed;
  generate.free_user_data = generate.free_mask_user_data = count;
  dsv3_threads threads = thread_count(1);
  threads.user_data = &freed;
  threads.free_user_data = count;
  const std::string folder = DSV3_SAMPLE_MODEL;
  const Context unloaded = create(options_for(folder));
  EXPECT_EQ(dsv3_sequence_generate(unloaded.get(), 1, &generate), DSV3_INVALID_ARGUMENT);
  EXPECT_EQ(freed, 2);
  EXPECT_EQ(dsv3_sequence_generate(nullptr, 1, &generate), DSV3_INVALID_ARGUMENT);
  EXPECT_EQ(freed, 4);
  EXPECT_EQ(dsv3_context_set_threads(unloaded.get(), &threads), DSV3_INVALID_ARGUMENT);
  EXPECT_EQ(freed, 5);

  struct Inside {
    dsv3_context* context;
    const dsv3_generate_options* generate;
    const dsv3_threads* threads;
    int* freed;
  };
  const Context context = open_sample();
  Inside inside{context.get(), &generate, &threads, &freed};
  dsv3_generate_options outer = greedy(1);
  outer.user_data = &inside;
  outer.callback = [](void* user_data, const dsv3_event* event) {
    const auto* const self = static_cast<const Inside*>(user_data);
    *self->freed = 0;
    EXPECT_EQ(dsv3_generate(self->context, event->sequence, self->generate, nullptr), DSV3_BUSY);
    EXPECT_EQ(*self->freed, 2);
    EXPECT_EQ(dsv3_context_set_threads(self->context, self->threads), DSV3_BUSY);
    EXPECT_EQ(*self->freed, 3);
    return int32_t{0};
  };
  const dsv3_sequence sequence = start_text(context.get(), "HAMLET:\n");
  EXPECT_EQ(dsv3_generate(context.get(), sequence, &outer, nullptr), DSV3_OK);
  EXPECT_EQ(freed, 3);

  dsv3_context_options options = options_for(folder);
  options.threads = &threads;
  EXPECT_EQ(dsv3_context_create(&options, nullptr), DSV3_INVALID_ARGUMENT);
  EXPECT_EQ(freed, 4);
}

// What other threads bring with them is not what a callback of the step sees.
TEST(HostHooks, FloatsAreTheCallingThreads) {
  const Context context = open_sample();
  const dsv3_sequence sequence = start_text(context.get(), "HAMLET:\n");
  const UnusualFloats floats;
  struct Checked {
    dsv3_context* context;
    uint32_t wanted;
    int events;
  } checked{context.get(), floats.wanted, 0};
  dsv3_generate_options options = greedy(4);
  options.user_data = &checked;
  options.callback = [](void* user_data, const dsv3_event*) {
    auto* const self = static_cast<Checked*>(user_data);
    EXPECT_EQ(float_settings(), self->wanted);
    ++self->events;
    const auto ask = [self](int rounding) {
      std::fesetround(rounding);
      dsv3_stats stats{};
      stats.struct_size = sizeof(stats);
      EXPECT_EQ(dsv3_context_stats(self->context, &stats), DSV3_OK);
    };
    std::thread other(ask, FE_TONEAREST);
    other.join();
    ask(FE_DOWNWARD);  // on this thread, for a while
    return int32_t{0};
  };
  EXPECT_EQ(dsv3_generate(context.get(), sequence, &options, nullptr), DSV3_OK);
  EXPECT_GT(checked.events, 1);
}

// Somebody who polls while another thread loads does not get that thread's lines.
TEST(HostHooks, LinesComeOnTheirThread) {
  struct Lines {
    std::thread::id thread;
    int count = 0;
    static void write(void* user_data, int32_t, const char*, uint64_t) {
      auto* const self = static_cast<Lines*>(user_data);
      EXPECT_EQ(std::this_thread::get_id(), self->thread);
      ++self->count;
    }
  } lines;
  lines.thread = std::this_thread::get_id();
  dsv3_log log{};
  log.struct_size = sizeof(log);
  log.write = &Lines::write;
  log.user_data = &lines;
  const std::string folder = DSV3_SAMPLE_MODEL;
  dsv3_context_options options = options_for(folder);
  options.log = &log;
  for (int round = 0; round < 8; ++round) {
    const Context context = create(options);
    std::atomic<bool> stop{false};
    std::thread poller([&] {
      while (!stop.load()) {
        dsv3_info info{};
        info.struct_size = sizeof(info);
        EXPECT_EQ(dsv3_context_info(context.get(), &info), DSV3_OK);
        EXPECT_TRUE(info.state != DSV3_CONTEXT_READY || info.vocab_size > 0);
      }
    });
    EXPECT_EQ(dsv3_context_load(context.get(), 0, nullptr), DSV3_OK);
    stop.store(true);
    poller.join();
  }
  EXPECT_GE(lines.count, 8);
}

// A callback of destroy finds that destroy is running, and no context any more.
TEST(HostHooks, DestroyInsideDestroy) {
  static dsv3_context* ending = nullptr;
  static int calls = 0;
  ending = open_sample().release();
  const dsv3_sequence sequence = start_text(ending, "HAMLET:\n");
  dsv3_generate_options options = greedy(1);
  options.free_user_data = [](void*) {
    ++calls;
    EXPECT_EQ(dsv3_context_destroy(ending), DSV3_BUSY);
    EXPECT_EQ(dsv3_sequence_create(ending, nullptr, nullptr), DSV3_INVALID_ARGUMENT);
  };
  ASSERT_EQ(dsv3_sequence_generate(ending, sequence, &options), DSV3_OK);
  EXPECT_EQ(dsv3_context_destroy(ending), DSV3_OK);
  EXPECT_EQ(calls, 1);
}

// A context that was never loaded, or refused, gives its hooks back too.
TEST(HostHooks, NoModelGivesBack) {
  Host host;
  host.floats_wanted = float_settings();
  host.thread = std::this_thread::get_id();
  const Hooks hooks(&host);
  const std::string folder = "/nowhere";
  dsv3_context_options options = options_for(folder);
  hooks.set(&options);
  { const Context context = create(options); }
  EXPECT_EQ(host.freed, 4);
  options.speculation = 3;
  dsv3_context* refused = nullptr;
  EXPECT_EQ(dsv3_context_create(&options, &refused), DSV3_UNSUPPORTED);
  EXPECT_EQ(dsv3_context_destroy(refused), DSV3_OK);
  EXPECT_EQ(host.freed, 8);
}

}  // namespace
}  // namespace dsv3_test
