// Goal: budgets, interrupts, failures, statistics and the ends of calls find a pass in flight and
// do with it what the header says. Method: one such call each, with a pass in flight.
#include "engine/flight_fixture.h"

namespace dsv3::test {
namespace {

using EngineFlightControl = EngineFlight;

TEST_F(EngineFlightControl, BudgetLandsWhatFliesThenSlices) {
  const SequenceId id = flying();
  EXPECT_EQ(test.engine.step(1), StepState::kReady);  // landing was longer than the budget
  EXPECT_EQ(test.engine.position(id), 5u);
  EXPECT_EQ(test.model.in_flight(), 0u);
  EXPECT_EQ(test.model.sliced_count, 0u);
  EXPECT_EQ(test.engine.step(1), StepState::kPartial);
  EXPECT_EQ(test.engine.step(1), StepState::kPartial);
  EXPECT_EQ(test.engine.step(1), StepState::kReady);
  EXPECT_EQ(test.engine.position(id), 6u);
  EXPECT_EQ(test.model.in_flight(), 0u);
  EXPECT_EQ(test.model.sliced_count, 1u);
  test.engine.step(1);
  EXPECT_EQ(test.engine.step(0), StepState::kReady);  // finishes the slices, goes on in flight
  EXPECT_EQ(test.engine.position(id), 7u);
  EXPECT_EQ(test.model.in_flight(), 1u);
}

TEST_F(EngineFlightControl, LogitsLandWhatFliesOfOthers) {
  const SequenceId id = test.create("idle");
  flying();
  std::vector<float> logits(kTinyVocab);
  test.engine.logits(id, logits);
  TestEngine alone;
  std::vector<float> wanted(kTinyVocab);
  alone.engine.logits(alone.create("idle"), wanted);
  EXPECT_EQ(logits, wanted);
  EXPECT_EQ(test.engine.step(0), StepState::kReady);
}

TEST_F(EngineFlightControl, RunAndGenerateLeaveNothingInFlight) {
  const SequenceId endless = flying("xyz");
  const SequenceId id = test.create("abc");
  test.engine.generate(id, TestEngine::options(4));
  EXPECT_EQ(test.engine.run_until_end(id), FinishReason::kMaxTokens);
  EXPECT_EQ(test.model.in_flight(), 0u);
  EXPECT_EQ(test.engine.run(2000, false), StepState::kReady);
  EXPECT_EQ(test.model.in_flight(), 0u);
  test.model.on_wait = [&] { test.engine.interrupt(); };
  Heard heard;
  test.drain(endless, &heard);
  EXPECT_EQ(test.engine.run(0, true), StepState::kReady);
  EXPECT_EQ(test.model.in_flight(), 0u);
  EXPECT_EQ(heard.ends, 0u);
}

// With A in flight, B is interrupted between its segments: PARTIAL, then B goes on and A lands.
TEST_F(EngineFlightControl, InterruptBetweenTheSegmentsOfTheNext) {
  const SequenceId id = flying();
  test.model.on_segment = [&](uint32_t segment) {
    if (segment == 1) test.engine.interrupt();
  };
  EXPECT_EQ(test.engine.step(0), StepState::kPartial);
  test.model.on_segment = nullptr;
  EXPECT_EQ(test.engine.position(id), 4u);
  EXPECT_EQ(test.model.in_flight(), 1u);
  EXPECT_EQ(test.engine.step(0), StepState::kReady);
  EXPECT_EQ(test.engine.position(id), 5u);
  test.model.on_segment = [&](uint32_t segment) {
    if (segment == 0) test.engine.interrupt();
  };
  EXPECT_EQ(test.engine.run(0, false), StepState::kPartial);  // what flew has landed
  EXPECT_EQ(test.engine.position(id), 6u);
  EXPECT_EQ(test.model.in_flight(), 0u);
  test.model.on_segment = nullptr;
  EXPECT_EQ(test.engine.step(0), StepState::kReady);
  EXPECT_EQ(test.engine.position(id), 7u);
  test.engine.cancel_sequence(id);
  Heard heard;
  test.drain(id, &heard);
  continues_as_without_flight(id, "abc", 4, "");
}

TEST_F(EngineFlightControl, EndOfTheContextWaitsForWhatFlies) {
  FakeClock clock;
  Allocator allocator(Allocator::Hook(), 0);
  FakeModel model({.rows_max = 8, .slots = 2, .page_count = 4, .positions_max = 99, .vocab = 272},
                  clock, 1);
  model.draws_eos = false;
  {
    Engine engine({model, nullptr, clock, allocator}, EngineOptions());
    const SequenceId id = engine.sequence_create({});
    engine.append_tokens(id, std::vector<int32_t>{'a'});
    GenerateOptions options;
    options.events = kEventsToken;
    engine.generate(id, options);
    engine.step(0);
    EXPECT_EQ(model.in_flight(), 1u);
  }
  EXPECT_EQ(model.in_flight(), 0u);
  EXPECT_EQ(model.defect, "");
}

TEST_F(EngineFlightControl, FaultDropsWhatFlies) {
  for (const bool in_wait : {false, true}) {
    TestEngine broken(ahead());
    broken.model.draws_eos = false;
    const SequenceId id = broken.create("abc");
    broken.engine.generate(id, TestEngine::options());
    broken.engine.step(0);
    (in_wait ? broken.model.fail_wait : broken.model.fail_next) = Status::kDeviceLost;
    EXPECT_EQ(error_of([&] { broken.engine.step(0); }).status(), Status::kDeviceLost);
    Heard heard;
    broken.drain(id, &heard);
    EXPECT_EQ(heard.ends, 1u);
    EXPECT_EQ(heard.end.status, Status::kDeviceLost);
    EXPECT_EQ(heard.end.position, 4u);
    EXPECT_EQ(error_of([&] { broken.engine.step(0); }).status(), Status::kFaulted);
    broken.engine.sequence_destroy(id);
    EXPECT_EQ(broken.engine.stats().pages_free, 64u);
  }
}

// A pass that fails rolls back alone; what flew before it lands in the next step.
TEST_F(EngineFlightControl, FailedStartLeavesWhatFlies) {
  for (const bool at_begin : {false, true}) {
    const SequenceId id = flying();
    (at_begin ? test.model.fail_begin : test.model.fail_next) = Status::kOutOfMemory;
    EXPECT_EQ(error_of([&] { test.engine.step(0); }).status(), Status::kOutOfMemory);
    EXPECT_EQ(test.engine.position(id), 4u);
    EXPECT_EQ(test.model.in_flight(), 1u);
    EXPECT_EQ(test.engine.step(0), StepState::kReady);
    EXPECT_EQ(test.engine.position(id), 5u);
    test.engine.cancel_sequence(id);
    Heard heard;
    test.drain(id, &heard);
    continues_as_without_flight(id, "abc", 2, "");
  }
}

// Results that cannot be read take the pass on top with them: it stands on rows that are not there.
TEST_F(EngineFlightControl, FailedLandingRollsBackBoth) {
  const SequenceId id = flying();
  const SequenceId prompt = test.create(std::string(100, 'q'));
  const uint64_t passes = test.engine.stats().passes;
  test.model.fail_wait = Status::kIo;
  EXPECT_EQ(error_of([&] { test.engine.step(0); }).status(), Status::kIo);
  EXPECT_EQ(test.engine.position(id), 4u);
  EXPECT_EQ(test.engine.stats().passes, passes);
  EXPECT_EQ(test.engine.stats().pages_free, 63u);
  EXPECT_EQ(test.engine.step(0), StepState::kReady);
  EXPECT_EQ(test.engine.position(id), 5u);
  EXPECT_EQ(test.engine.stats().passes, passes + 1);
  test.engine.cancel_sequence(id);
  Heard heard;
  test.drain(id, &heard);
  continues_as_without_flight(id, "abc", 2, "");
  continues_as_without_flight(prompt, std::string(100, 'q'), 0, "");
}

// All three kinds of failure, again and again.
TEST_F(EngineFlightControl, FailuresRepeatThePass) {
  TestEngine whole;
  whole.model.draws_eos = false;
  const std::string prompt(90, 'q');
  const SequenceId id = test.create(prompt);
  const SequenceId same = whole.create(prompt);
  test.engine.generate(id, TestEngine::options(80));
  whole.engine.generate(same, TestEngine::options(80));
  Heard heard;
  uint32_t failures = 0;
  for (uint32_t step = 0; heard.ends == 0; ++step) {
    if (step % 7 == 1) test.model.fail_begin = Status::kOutOfMemory;
    if (step % 7 == 3) test.model.fail_next = Status::kIo;
    if (step % 7 == 5) test.model.fail_wait = Status::kCancelled;
    if (error_of([&] { test.engine.step(0); }).status() != Status::kOk) ++failures;
    test.drain(id, &heard);
  }
  EXPECT_GT(failures, 20u);
  EXPECT_EQ(heard.tokens, whole.finish(same).tokens);
}

TEST_F(EngineFlightControl, TimesAreFromBeginOrTheEndOfThePassBefore) {
  test.model.enqueue_us = 7;
  const SequenceId id = flying();
  for (int i = 0; i < 10; ++i) {
    test.engine.step(0);
    EXPECT_EQ(test.engine.stats().pass_us_last, 330u);  // 3 segments of 110 us
  }
  const EngineStats stats = test.engine.stats();
  EXPECT_EQ(stats.segment_us_max, 130u * 3 - 3 * 7);  // waiting for the first, of 3 rows
  EXPECT_EQ(stats.busy_us, 390u + 3 * 7 + 10 * 330);
  EXPECT_EQ(test.engine.position(id), 14u);
}

// What the flying pass will say may fill the ring: then the next waits for it.
TEST_F(EngineFlightControl, RingsNeverOverflow) {
  for (uint32_t size = kEventsMin; size < 16; ++size) {
    Heard heard[2];
    uint32_t stalls[2] = {};
    for (uint32_t way = 0; way < 2; ++way) {
      TestEngine narrow({.passes_ahead = way});
      narrow.model.draws_eos = false;
      const SequenceId id = narrow.create("abc", size);
      narrow.engine.generate(id, TestEngine::options(100));
      while (heard[way].ends == 0) {
        EXPECT_NE(narrow.engine.run(0, false), StepState::kReady);
        ++stalls[way];
        narrow.drain(id, &heard[way]);
      }
    }
    EXPECT_EQ(heard[0].tokens, heard[1].tokens);
    EXPECT_EQ(heard[0].text, heard[1].text);
    EXPECT_EQ(stalls[0], stalls[1]);
  }
}

// Asked for while its last chunk flies, which was planned for nobody.
TEST_F(EngineFlightControl, GenerationHearsOfThePrefillInFlight) {
  const SequenceId id = test.create(std::string(90, 'q'));  // 3 chunks
  test.engine.step(0);
  test.engine.step(0);
  EXPECT_EQ(test.model.in_flight(), 1u);
  GenerateOptions options = TestEngine::options(5);
  options.events |= kEventsPrefill;
  test.engine.generate(id, options);
  Heard heard;
  test.engine.step(0);
  test.drain(id, &heard);
  EXPECT_EQ(heard.prefill_done, 90u - 64u);
  EXPECT_EQ(test.finish(id).tokens.size(), 5u);
}

}  // namespace
}  // namespace dsv3::test
