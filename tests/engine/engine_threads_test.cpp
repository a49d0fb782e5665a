// Goal: SHARED and ANY calls from many threads beside the step thread race with nothing. Method:
// all of them at once; ThreadSanitizer and the fake model judge.
#include <atomic>
#include <random>
#include <thread>

#include "engine/engine_fixture.h"

namespace dsv3::test {
namespace {

struct Worker {
  TestEngine& test;
  std::atomic<uint64_t>& ends;
  uint32_t seed;

  // Creates, prompts, generates, takes events, cancels and destroys its own sequences.
  void operator()() const {
    std::mt19937 random(seed);
    for (int round = 0; round < 40; ++round) {
      const SequenceId id = test.engine.sequence_create({0, 16});
      test.append(id, std::string(1 + random() % 80, 'q'));
      GenerateOptions options = TestEngine::options(1 + static_cast<uint32_t>(random() % 30));
      const bool is_push = random() % 2 == 0;
      std::atomic<uint64_t> heard{0};
      if (is_push) {
        options.user_data = &heard;
        options.callback = [](void* data, const Event& event) {
          if (event.kind == EventKind::kEnd) ++*static_cast<std::atomic<uint64_t>*>(data);
          return 0;
        };
      }
      test.engine.generate(id, options);
      const bool dies_early = random() % 8 == 0;
      if (random() % 4 == 0) test.engine.cancel_sequence(id);
      while (heard == 0 && !dies_early) {
        Event event;
        while (test.engine.next_event(id, &event)) {
          if (event.kind == EventKind::kEnd) ++heard;
        }
        (void)test.engine.position(id);
        std::this_thread::yield();
      }
      ends += heard;
      test.engine.sequence_destroy(id);
    }
  }
};

struct EngineThreads : BothWays {};
DSV3_TEST_BOTH_WAYS(EngineThreads);

TEST_P(EngineThreads, ManyHostsOneStepThread) {
  TestEngine test(config({.rows_max = 16, .slots = 16, .page_count = 8}));
  std::atomic<uint64_t> ends{0};
  std::atomic<bool> is_over{false};
  std::thread stepper([&] {
    while (!is_over) test.engine.run(0, true);
  });
  std::thread nuisance([&] {
    std::mt19937 random(99);
    while (!is_over) {
      (void)test.engine.stats();
      if (random() % 64 == 0) test.engine.cancel_all();
      if (random() % 16 == 0) test.engine.interrupt();
      std::this_thread::yield();
    }
  });
  std::vector<std::thread> hosts;
  for (uint32_t i = 0; i < 4; ++i) hosts.emplace_back(Worker{test, ends, i});
  for (std::thread& host : hosts) host.join();
  is_over = true;
  test.engine.interrupt();
  nuisance.join();
  stepper.join();
  test.engine.step(0);
  EXPECT_EQ(test.model.defect, "");
  EXPECT_GT(ends, 100u);
  EXPECT_EQ(test.engine.stats().sequences, 0u);
  EXPECT_EQ(test.engine.stats().pages_free, 8u);
}

}  // namespace
}  // namespace dsv3::test
