// Goal: the host owns time: budgets, PARTIAL, interrupt, cancel, stalls, roll-back and faults do
// what design says. Method: a fake clock that only segments move, hooks inside segments.
#include <chrono>
#include <cmath>
#include <stdexcept>
#include <thread>

#include "engine/engine_fixture.h"

namespace dsv3::test {
namespace {

// A decode pass of this model takes 3 segments of 110 us.
struct ControlTest : BothWays {
  ControlTest() { test.model.draws_eos = false; }

  SequenceId decoding(std::string_view prompt = "abc") {
    const SequenceId id = test.create(prompt);
    test.engine.step(0);
    test.engine.generate(id, TestEngine::options());
    return id;
  }

  TestEngine test{config()};
};
DSV3_TEST_BOTH_WAYS(ControlTest);

TEST_P(ControlTest, BudgetIsKeptToOneSegment) {
  decoding();
  for (int call = 0; call < 20; ++call) {
    const uint64_t begin = test.clock.now_us();
    const StepState state = test.engine.step(50);
    EXPECT_LE(test.clock.now_us() - begin, 50u + 110u);
    EXPECT_TRUE(state == StepState::kPartial || state == StepState::kReady);
  }
}

TEST_P(ControlTest, PartialPassCommitsNothingAndResumes) {
  const SequenceId id = decoding();
  EXPECT_EQ(test.engine.step(1), StepState::kPartial);
  EXPECT_EQ(test.engine.position(id), 3u);
  EXPECT_EQ(test.engine.step(1), StepState::kPartial);
  EXPECT_EQ(test.engine.step(1), StepState::kReady);
  EXPECT_EQ(test.engine.position(id), 4u);
  EXPECT_EQ(test.model.pass_count, 2u);
}

TEST_P(ControlTest, ZeroBudgetFinishesThePassInFlight) {
  const SequenceId id = decoding();
  test.engine.step(1);
  EXPECT_EQ(test.engine.step(0), StepState::kReady);
  EXPECT_EQ(test.engine.position(id), 4u);
}

TEST_P(ControlTest, LargeBudgetRunsManyPasses) {
  const SequenceId id = decoding();
  test.engine.step(3400);
  EXPECT_GE(test.engine.position(id), 10u);
}

TEST_P(ControlTest, ChunkFollowsTheBudget) {
  TestEngine wide(config({.rows_max = 512, .page_count = 64, .positions_max = 2048}));
  wide.model.segment_us = 0;
  wide.create(std::string(2000, 'q'));
  wide.engine.step(1000);  // the cost of a row is not known yet
  wide.engine.step(1000);
  EXPECT_LE(wide.model.rows_last, 100u);  // 10 us a row
  EXPECT_GE(wide.model.rows_last, 16u);
}

TEST_P(ControlTest, InterruptReturnsEarlyAndEndsNothing) {
  const SequenceId id = decoding();
  test.model.on_segment = [&](uint32_t segment) {
    if (segment == 1) test.engine.interrupt();
  };
  EXPECT_EQ(test.engine.step(0), StepState::kPartial);
  test.model.on_segment = nullptr;
  EXPECT_EQ(test.engine.step(0), StepState::kReady);
  EXPECT_EQ(test.engine.position(id), 4u);
  test.engine.interrupt();
  EXPECT_EQ(test.engine.run(0, true), StepState::kReady);
}

TEST_P(ControlTest, RunStopsAtItsTimeout) {
  decoding();
  const uint64_t begin = test.clock.now_us();
  const StepState state = test.engine.run(5000, false);
  EXPECT_TRUE(state == StepState::kPartial || state == StepState::kReady ||
              state == StepState::kStalled);
  // What flies is waited for: two passes at most.
  EXPECT_LE(test.clock.now_us() - begin, 5000u + (GetParam() == 0 ? 110u : 2 * 330u));
  EXPECT_EQ(test.model.in_flight(), 0u);
}

TEST_P(ControlTest, RunReturnsIdleWithoutWork) {
  EXPECT_EQ(test.engine.run(0, false), StepState::kIdle);
}

TEST_P(ControlTest, WaitingRunWakesForWork) {
  Heard heard;
  GenerateOptions options = TestEngine::options(5);
  options.user_data = &heard;
  options.callback = [](void* data, const Event& event) {
    static_cast<Heard*>(data)->hear(event);
    return 0;
  };
  const SequenceId id = test.create();
  std::thread host([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    test.append(id, "abc");
    test.engine.generate(id, options);
    while (test.engine.stats().generations > 0) std::this_thread::yield();
    test.engine.interrupt();
  });
  test.engine.run(0, true);
  host.join();
  test.engine.step(0);
  EXPECT_EQ(heard.ends, 1u);
  EXPECT_EQ(heard.tokens.size(), 5u);
}

TEST_P(ControlTest, CancelEndsWithinASegment) {
  const SequenceId id = decoding();
  uint32_t segments = 0;
  test.model.on_segment = [&](uint32_t segment) {
    ++segments;
    if (segment == 0) test.engine.cancel_sequence(id);
  };
  test.engine.step(0);
  EXPECT_EQ(segments, 1u);  // the pass was for it alone
  Heard heard;
  test.drain(id, &heard);
  EXPECT_EQ(heard.ends, 1u);
  EXPECT_EQ(heard.end.finish, FinishReason::kCancelled);
  EXPECT_EQ(heard.end.position, 3u);
  EXPECT_EQ(test.engine.step(0), StepState::kIdle);
  test.model.on_segment = nullptr;
  test.engine.generate(id, TestEngine::options(4));  // still usable
  EXPECT_EQ(test.finish(id).tokens.size(), 4u);
}

TEST_P(ControlTest, CancelDropsOnlyItsOwnRows) {
  const SequenceId first = decoding();
  const SequenceId second = decoding("xyz");
  test.engine.step(0);
  const uint32_t position = test.engine.position(second);
  test.model.on_segment = [&](uint32_t segment) {
    if (segment == 1) test.engine.cancel_sequence(first);
  };
  test.engine.step(0);
  EXPECT_EQ(test.engine.position(second), position + 1);
}

TEST_P(ControlTest, CancelAllSparesLaterGenerations) {
  const SequenceId first = decoding();
  test.engine.cancel_all();
  const SequenceId second = test.create("xyz");
  test.engine.generate(second, TestEngine::options(3));
  EXPECT_EQ(test.finish(second).end.finish, FinishReason::kMaxTokens);
  EXPECT_EQ(test.finish(first).end.finish, FinishReason::kCancelled);
}

TEST_P(ControlTest, CancelOfNothingIsNothing) {
  const SequenceId id = test.create("abc");
  test.engine.cancel_sequence(id);
  test.engine.cancel_sequence(0);
  test.engine.cancel_sequence(~SequenceId{0});
  test.engine.generate(id, TestEngine::options(2));
  EXPECT_EQ(test.finish(id).end.finish, FinishReason::kMaxTokens);
}

// The pass goes on for the second sequence; of the first, the draw of the old generation must
// neither be committed nor lose its biases.
TEST_P(ControlTest, CancelledIsReplacedDuringThePass) {
  const SequenceId id = test.create("abc");
  decoding("xyz");
  test.engine.step(0);
  GenerateOptions options = TestEngine::options();
  options.sampling.seed = 1;
  options.biases.assign(200, {'e', -INFINITY});
  test.engine.generate(id, options);
  test.engine.step(1);
  test.engine.cancel_sequence(id);
  Heard first;
  test.drain(id, &first);  // settles the cancel
  EXPECT_EQ(first.end.finish, FinishReason::kCancelled);
  options.sampling.seed = 2;
  options.max_tokens = 3;
  options.biases.clear();
  test.engine.generate(id, options);
  const Heard second = test.finish(id);
  EXPECT_EQ(second.end.finish, FinishReason::kMaxTokens);

  TestEngine alone(config());
  alone.model.draws_eos = false;
  const SequenceId same = alone.create("abc");
  alone.engine.generate(same, options);
  EXPECT_EQ(second.tokens, alone.finish(same).tokens);
}

TEST_P(ControlTest, CancelStopsThePrefillToo) {
  const SequenceId id = test.create(std::string(300, 'q'));
  test.engine.generate(id, TestEngine::options());
  test.engine.step(0);
  test.engine.cancel_sequence(id);
  EXPECT_EQ(test.engine.step(0), StepState::kIdle);
  EXPECT_EQ(test.model.pass_count, 1u + GetParam());  // one flew already
  EXPECT_EQ(test.engine.stats().passes, 1u);
}

TEST_P(ControlTest, FullRingStallsAndDropsNothing) {
  const SequenceId id = test.create("abc", 20);
  test.engine.generate(id, TestEngine::options(200));
  EXPECT_EQ(test.engine.run(0, false), StepState::kStalled);
  EXPECT_EQ(test.engine.step(0), StepState::kStalled);
  const SequenceId other = test.create("xyz");
  test.engine.generate(other, TestEngine::options(3));
  EXPECT_EQ(test.finish(other).tokens.size(), 3u);  // others go on
  EXPECT_EQ(test.finish(id).tokens.size(), 200u);
}

TEST_P(ControlTest, CancelOfAStalledGenerationEndsIt) {
  const SequenceId id = test.create("abc", 8);
  test.engine.generate(id, TestEngine::options());
  EXPECT_EQ(test.engine.run(0, false), StepState::kStalled);
  const Error error = error_of([&] { test.engine.run_until_end(id); });
  EXPECT_EQ(error.status(), Status::kLimit);
  test.engine.cancel_sequence(id);
  EXPECT_EQ(test.finish(id).end.finish, FinishReason::kCancelled);
}

TEST_P(ControlTest, RolledBackPassIsRepeated) {
  for (const Status status :
       {Status::kOutOfMemory, Status::kIo, Status::kLimit, Status::kCancelled}) {
    TestEngine broken(config());
    TestEngine whole(config());
    const std::string prompt(90, 'q');
    for (TestEngine* engine : {&broken, &whole}) engine->model.draws_eos = false;
    const SequenceId first = broken.create(prompt);
    const SequenceId second = whole.create(prompt);
    broken.engine.generate(first, TestEngine::options(80));
    whole.engine.generate(second, TestEngine::options(80));
    uint32_t calls = 0;
    broken.model.on_segment = [&](uint32_t) {
      if (++calls % 5 == 0) broken.model.fail_next = status;
    };
    Heard heard;
    uint32_t failures = 0;
    while (heard.ends == 0) {
      const Error error = error_of([&] { broken.engine.step(0); });
      if (error.status() != Status::kOk) {
        EXPECT_EQ(error.status(), status);
        ++failures;
      }
      broken.drain(first, &heard);
    }
    EXPECT_GT(failures, 10u);
    EXPECT_EQ(heard.tokens, whole.finish(second).tokens);
    EXPECT_EQ(broken.model.defect, "");
  }
}

TEST_P(ControlTest, FaultGivesEveryGenerationOneErrorEvent) {
  const SequenceId first = decoding();
  const SequenceId second = decoding("xyz");
  const SequenceId idle = test.create("idle");
  test.model.fail_next = Status::kDeviceLost;
  EXPECT_EQ(error_of([&] { test.engine.step(0); }).status(), Status::kDeviceLost);
  for (const SequenceId id : {first, second}) {
    Heard heard;
    test.drain(id, &heard);
    EXPECT_EQ(heard.ends, 1u);
    EXPECT_EQ(heard.end.finish, FinishReason::kError);
    EXPECT_EQ(heard.end.status, Status::kDeviceLost);
    EXPECT_EQ(test.engine.sequence_error(id), "injected");
  }
  Heard heard;
  test.drain(idle, &heard);
  EXPECT_EQ(heard.ends, 0u);
  const Error error = error_of([&] { test.engine.generate(idle, TestEngine::options()); });
  EXPECT_EQ(error.status(), Status::kFaulted);
  EXPECT_EQ(error.message(), "the context failed earlier: injected");
  EXPECT_EQ(error_of([&] { test.engine.step(0); }).status(), Status::kFaulted);
  test.engine.sequence_destroy(idle);
}

TEST_P(ControlTest, UnknownExceptionsFault) {
  const SequenceId id = decoding();
  test.model.on_segment = [](uint32_t) { throw std::runtime_error("strange"); };
  EXPECT_THROW(test.engine.step(0), std::runtime_error);
  Heard heard;
  test.drain(id, &heard);
  EXPECT_EQ(heard.end.status, Status::kInternal);
  EXPECT_EQ(test.engine.sequence_error(id), "strange");
}

TEST_P(ControlTest, AppendDuringAPrefillPassIsAllowed) {
  const SequenceId id = test.create("abc");
  test.engine.step(1);
  test.append(id, "def");
  EXPECT_EQ(test.engine.step(0), StepState::kReady);
  test.engine.generate(id, TestEngine::options(2));
  EXPECT_EQ(test.finish(id).end.position, 8u);
}

TEST_P(ControlTest, DestroyedDuringThePassKeepsSlotAndPagesUntilItsEnd) {
  const SequenceId id = decoding();
  test.engine.step(1);
  const uint32_t free_before = test.engine.stats().pages_free;
  test.engine.sequence_destroy(id);
  EXPECT_FALSE(test.engine.sequence_exists(id));
  EXPECT_EQ(test.engine.stats().sequences, 0u);
  EXPECT_EQ(test.engine.stats().pages_free, free_before);
  const SequenceId next = test.create();
  EXPECT_NE(next & 0xffff, id & 0xffff);
  EXPECT_EQ(test.engine.step(0), StepState::kIdle);
  EXPECT_EQ(test.engine.stats().pages_free, free_before + 1);
}

}  // namespace
}  // namespace dsv3::test
