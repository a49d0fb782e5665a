// Goal: push delivery: order, cancel by return value, calls from inside callbacks, user_data given
// back exactly once. Method: callbacks that do each of these.
#include <atomic>
#include <functional>
#include <thread>

#include "engine/engine_fixture.h"

namespace dsv3::test {
namespace {

struct Listener {
  Heard heard;
  std::function<int32_t(const Event&)> answer;
  int releases = 0;

  GenerateOptions options(uint32_t max_tokens) {
    GenerateOptions options = TestEngine::options(max_tokens);
    options.user_data = this;
    options.callback = [](void* data, const Event& event) {
      auto* self = static_cast<Listener*>(data);
      self->heard.hear(event);
      return self->answer ? self->answer(event) : 0;
    };
    options.free_user_data = [](void* data) { ++static_cast<Listener*>(data)->releases; };
    return options;
  }
};

struct CallbackTest : BothWays {
  CallbackTest() { test.model.draws_eos = false; }

  TestEngine test{config()};
  Listener listener;
};
DSV3_TEST_BOTH_WAYS(CallbackTest);

TEST_P(CallbackTest, PushHearsWhatPullHears) {
  const SequenceId pull = test.create("abc");
  test.engine.generate(pull, TestEngine::options(40));
  const Heard wanted = test.finish(pull);
  const SequenceId push = test.create("abc", 8);
  test.engine.generate(push, listener.options(40));
  EXPECT_EQ(test.engine.run(0, false), StepState::kIdle);
  EXPECT_EQ(listener.heard.text, wanted.text);
  EXPECT_EQ(listener.heard.tokens, wanted.tokens);
  EXPECT_EQ(listener.heard.ends, 1u);
  EXPECT_EQ(listener.releases, 1);
}

TEST_P(CallbackTest, NextEventNeverTakesPushedEvents) {
  const SequenceId id = test.create("abc");
  bool took = false;
  listener.answer = [&](const Event&) {
    Event event;
    took = took || test.engine.next_event(id, &event) || test.engine.next_event(0, &event);
    return 0;
  };
  test.engine.generate(id, listener.options(5));
  test.engine.run(0, false);
  EXPECT_FALSE(took);
  EXPECT_EQ(listener.heard.tokens.size(), 5u);
}

TEST_P(CallbackTest, NonZeroReturnCancelsWithOneEnd) {
  test.model.script = {'p', 'p', 'p', 'x', 'y', 'z', 'w', 'v'};
  const SequenceId id = test.create("abc");
  listener.answer = [&](const Event& event) {
    return event.kind == EventKind::kToken && listener.heard.tokens.size() == 3 ? 1 : 0;
  };
  test.engine.generate(id, listener.options(40));
  test.engine.run(0, false);
  EXPECT_EQ(listener.heard.tokens.size(), 3u);
  EXPECT_EQ(listener.heard.ends, 1u);
  EXPECT_EQ(listener.heard.after_end, 0u);
  EXPECT_EQ(listener.heard.end.finish, FinishReason::kCancelled);
  EXPECT_EQ(listener.heard.end.position, 6u);
  EXPECT_EQ(listener.heard.text, "xy");  // the third token's text is dropped
}

TEST_P(CallbackTest, CancelAtTheLastTokenKeepsTheRealReason) {
  test.model.script = {'p', 'p', 'p', 'x', 'y', 'z', 'w', 'v'};
  const SequenceId id = test.create("abc");
  listener.answer = [&](const Event&) { return listener.heard.tokens.size() == 3 ? 1 : 0; };
  test.engine.generate(id, listener.options(3));
  test.engine.run(0, false);
  EXPECT_EQ(listener.heard.ends, 1u);
  EXPECT_EQ(listener.heard.end.finish, FinishReason::kMaxTokens);
  EXPECT_EQ(listener.heard.text, "xy");
}

TEST_P(CallbackTest, RefusalMayBringNewWork) {
  TestEngine tight(config({.page_count = 3, .policy = OutOfPagesPolicy::kLimit}));
  tight.model.draws_eos = false;
  tight.create(std::string(100, 'q'));
  tight.engine.run(0, false);
  const SequenceId large = tight.create(std::string(100, 'q'));
  const SequenceId small = tight.create();
  listener.answer = [&](const Event& event) {
    if (event.kind != EventKind::kEnd) return 0;
    tight.append(small, "abc");
    tight.engine.generate(small, TestEngine::options(4));
    return 0;
  };
  tight.engine.generate(large, listener.options(4));
  EXPECT_EQ(tight.engine.run(0, false), StepState::kIdle);
  EXPECT_EQ(listener.heard.end.status, Status::kLimit);
  Heard heard;
  tight.drain(small, &heard);
  EXPECT_EQ(heard.tokens.size(), 4u);
}

TEST_P(CallbackTest, CancelCallFromInsideEndsOnce) {
  const SequenceId id = test.create("abc");
  listener.answer = [&](const Event&) {
    test.engine.cancel_sequence(id);
    Event event;
    test.engine.next_event(id, &event);  // settles the cancel in the middle of delivery
    return 1;
  };
  test.engine.generate(id, listener.options(40));
  test.engine.run(0, false);
  EXPECT_EQ(listener.heard.ends, 1u);
  EXPECT_EQ(listener.heard.end.finish, FinishReason::kCancelled);
}

TEST_P(CallbackTest, EndMayStartTheNextGeneration) {
  const SequenceId id = test.create("abc");
  Listener second;
  listener.answer = [&](const Event& event) {
    if (event.kind == EventKind::kEnd) test.engine.generate(id, second.options(4));
    return 0;
  };
  test.engine.generate(id, listener.options(3));
  EXPECT_EQ(test.engine.run(0, false), StepState::kIdle);
  EXPECT_EQ(listener.heard.tokens.size(), 3u);
  EXPECT_EQ(listener.releases, 1);
  EXPECT_EQ(second.heard.tokens.size(), 4u);
  EXPECT_EQ(second.releases, 1);
}

TEST_P(CallbackTest, DestroyInsideTakesEffectOnReturn) {
  const SequenceId id = test.create("abc");
  bool exists_inside = false;
  listener.answer = [&](const Event&) {
    if (listener.heard.tokens.size() == 2) {
      test.engine.sequence_destroy(id);
      exists_inside = test.engine.sequence_exists(id);
    }
    return 0;
  };
  test.engine.generate(id, listener.options(40));
  EXPECT_EQ(test.engine.run(0, false), StepState::kIdle);
  EXPECT_TRUE(exists_inside);
  EXPECT_FALSE(test.engine.sequence_exists(id));
  EXPECT_EQ(listener.heard.ends, 0u);  // its end is the destruction
  EXPECT_EQ(listener.releases, 1);
  EXPECT_EQ(test.engine.stats().pages_free, 64u);
}

TEST_P(CallbackTest, DestroyingAnotherSequenceInsideIsImmediate) {
  const SequenceId other = test.create("xyz");
  test.engine.generate(other, TestEngine::options(40));
  const SequenceId id = test.create("abc");
  listener.answer = [&](const Event&) {
    if (test.engine.sequence_exists(other)) test.engine.sequence_destroy(other);
    EXPECT_FALSE(test.engine.sequence_exists(other));
    return 0;
  };
  test.engine.generate(id, listener.options(5));
  test.engine.run(0, false);
  EXPECT_EQ(listener.heard.tokens.size(), 5u);
}

TEST_P(CallbackTest, DestroyFromAnotherThreadWaitsForTheCallback) {
  const SequenceId id = test.create("abc");
  std::atomic<bool> is_inside{false};
  std::atomic<bool> may_leave{false};
  std::atomic<bool> is_destroyed{false};
  listener.answer = [&](const Event&) {
    is_inside = true;
    while (!may_leave) std::this_thread::yield();
    EXPECT_FALSE(is_destroyed);
    return 0;
  };
  test.engine.generate(id, listener.options(40));
  std::thread host([&] {
    while (!is_inside) std::this_thread::yield();
    std::thread opener([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      may_leave = true;
    });
    test.engine.sequence_destroy(id);
    is_destroyed = true;
    EXPECT_EQ(listener.releases, 1);
    opener.join();
  });
  test.engine.run(0, false);
  host.join();
  EXPECT_TRUE(is_destroyed);
  EXPECT_EQ(listener.heard.ends, 0u);
  EXPECT_EQ(listener.releases, 1);
}

TEST_P(CallbackTest, FaultIsDeliveredBeforeStepThrows) {
  const SequenceId id = test.create("abc");
  test.engine.generate(id, listener.options(40));
  test.model.fail_next = Status::kInternal;
  EXPECT_EQ(error_of([&] { test.engine.step(0); }).status(), Status::kInternal);
  EXPECT_EQ(listener.heard.ends, 1u);
  EXPECT_EQ(listener.heard.end.finish, FinishReason::kError);
  EXPECT_EQ(listener.releases, 1);
}

TEST_P(CallbackTest, RefusedGenerateGivesUserDataBack) {
  const SequenceId id = test.create("abc");
  GenerateOptions options = listener.options(4);
  options.sampling.temperature = -1.0f;
  EXPECT_EQ(error_of([&] { test.engine.generate(id, options); }).status(),
            Status::kInvalidArgument);
  EXPECT_EQ(listener.releases, 1);
  EXPECT_EQ(error_of([&] { test.engine.generate(id + 1, listener.options(1)); }).status(),
            Status::kInvalidArgument);
  EXPECT_EQ(listener.releases, 2);
}

TEST_P(CallbackTest, EngineEndGivesUserDataBackWithoutEvents) {
  {
    TestEngine gone(config());
    const SequenceId id = gone.create("abc");
    gone.engine.generate(id, listener.options(40));
    gone.engine.step(1);
  }
  EXPECT_EQ(listener.heard.ends, 0u);
  EXPECT_EQ(listener.releases, 1);
}

// A callback that generates again at each END, in a sequence that is full: a step ends
// nevertheless.
TEST_P(CallbackTest, GeneratingAgainAndAgainDoesNotHoldAStep) {
  const SequenceId id = test.engine.sequence_create({3, 8});
  test.append(id, "abc");
  struct Again {
    Engine& engine;
    FakeClock& clock;
    int ends = 0;
    GenerateOptions options() {
      GenerateOptions out;
      out.user_data = this;
      out.callback = [](void* data, const Event& event) {
        auto* const self = static_cast<Again*>(data);
        EXPECT_EQ(event.finish, FinishReason::kContextFull);
        self->clock.now += 100;
        if (++self->ends < 1000) self->engine.generate(event.sequence, self->options());
        return 0;
      };
      return out;
    }
  } again{test.engine, test.clock};
  test.engine.generate(id, again.options());
  EXPECT_EQ(test.engine.step(0), StepState::kReady);
  EXPECT_LT(again.ends, 10);
  EXPECT_EQ(test.engine.step(1000), StepState::kReady);
  EXPECT_LT(again.ends, 1000);
  EXPECT_EQ(test.engine.run(0, false), StepState::kIdle);
  EXPECT_EQ(again.ends, 1000);
}

TEST_P(CallbackTest, PushNeedsAnEmptyRing) {
  const SequenceId id = test.create("abc");
  test.engine.generate(id, TestEngine::options(3));
  test.engine.run(0, false);
  const Error error = error_of([&] { test.engine.generate(id, listener.options(3)); });
  EXPECT_EQ(error.status(), Status::kBusy);
  Heard heard;
  test.drain(id, &heard);
  test.engine.generate(id, listener.options(3));
  test.engine.run(0, false);
  EXPECT_EQ(listener.heard.tokens.size(), 3u);
}

}  // namespace
}  // namespace dsv3::test
