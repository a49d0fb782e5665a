// Goal: a pass in flight changes nothing but the speed, whatever happens to its sequences before it
// lands. Method: one such event each, against the same calls without flight.
#include "engine/flight_fixture.h"

namespace dsv3::test {
namespace {

TEST_F(EngineFlight, EachStepCommitsOnePassAndLeavesOneInFlight) {
  const SequenceId id = flying();
  for (uint32_t position = 4; position < 50; ++position) {
    EXPECT_EQ(test.engine.position(id), position);
    EXPECT_EQ(test.model.pass_count, position - 2);
    EXPECT_EQ(test.engine.stats().passes, position - 3);
    Heard heard;
    test.drain(id, &heard);
    EXPECT_EQ(heard.tokens.size(), 1u);
    EXPECT_EQ(test.engine.step(0), StepState::kReady);
    EXPECT_EQ(test.model.in_flight(), 1u);
  }
  EXPECT_EQ(test.model.drawn_count, 47u);
}

TEST_F(EngineFlight, CertainEndsAreNotRunAhead) {
  const SequenceId id = test.create("abc");
  test.engine.generate(id, TestEngine::options(5));
  EXPECT_EQ(test.finish(id).end.finish, FinishReason::kMaxTokens);
  EXPECT_EQ(test.model.pass_count, 5u);
  EXPECT_EQ(test.model.in_flight(), 0u);
  const SequenceId small = test.engine.sequence_create({8, 64});
  test.append(small, "abcd");
  test.engine.generate(small, TestEngine::options());
  EXPECT_EQ(test.finish(small).end.finish, FinishReason::kContextFull);
  EXPECT_EQ(test.model.pass_count, 9u);
  EXPECT_EQ(test.engine.step(0), StepState::kIdle);
}

// The row after the end is void: it counts nowhere, and one more step finds that out.
TEST_F(EngineFlight, EndTokenVoidsTheRowBehindIt) {
  draw_at(test, 5, kTinyEos);
  const SequenceId id = test.create("abc");
  test.engine.generate(id, TestEngine::options());
  EXPECT_EQ(test.engine.run_until_end(id), FinishReason::kEos);
  EXPECT_EQ(test.model.in_flight(), 0u);
  EXPECT_EQ(test.model.pass_count, 4u);
  const EngineStats stats = test.engine.stats();
  EXPECT_EQ(stats.passes, 3u);
  EXPECT_EQ(stats.tokens_generated, 3u);
  EXPECT_EQ(stats.tokens_prefilled, 3u);
  EXPECT_EQ(test.engine.position(id), 6u);
  Heard heard;
  test.drain(id, &heard);
  continues_as_without_flight(id, "abc", 3, "more");
}

TEST_F(EngineFlight, StepAfterAnEndIsReadyThenIdle) {
  draw_at(test, 3, kTinyEos);
  const SequenceId id = test.create("abc");
  test.engine.generate(id, TestEngine::options());
  EXPECT_EQ(test.engine.step(0), StepState::kReady);  // the void row flies
  Heard heard;
  test.drain(id, &heard);
  EXPECT_EQ(heard.end.finish, FinishReason::kEos);
  EXPECT_EQ(test.engine.step(0), StepState::kIdle);
  EXPECT_EQ(test.model.in_flight(), 0u);
}

// The void row took a page that nobody needs: it goes back with the commit of the end.
TEST_F(EngineFlight, PagesOfVoidRowsGoBack) {
  draw_at(test, 64, kTinyEos);
  const SequenceId id = test.create(std::string(64, 'q'));
  test.engine.step(0);
  test.engine.step(0);
  test.engine.generate(id, TestEngine::options());
  EXPECT_EQ(test.engine.step(0), StepState::kReady);
  EXPECT_EQ(test.model.in_flight(), 1u);
  EXPECT_EQ(test.model.rows_last, 1u);
  EXPECT_EQ(test.engine.stats().pages_free, 63u);
  Heard heard;
  test.drain(id, &heard);
  // Given to somebody else while the void row still flies: later passes come after it.
  const SequenceId other = test.create(std::string(64, 'z'));
  test.engine.generate(other, TestEngine::options(10));
  continues_as_without_flight(id, std::string(64, 'q'), 1, "");
}

// After a void row the next turn begins at once, while that row still flies.
TEST_F(EngineFlight, NextTurnWhileTheVoidRowFlies) {
  for (const std::string_view more : {"", "x", "and then more"}) {
    for (const bool logits : {false, true}) {
      TestEngine fresh(ahead());
      TestEngine alone;
      for (TestEngine* engine : {&fresh, &alone}) draw_at(*engine, 5, kTinyEos);
      Heard heard[2];
      std::vector<float> out[2];
      for (TestEngine* engine : {&fresh, &alone}) {
        const size_t way = engine == &fresh ? 0 : 1;
        const SequenceId id = engine->create("abc");
        GenerateOptions options = TestEngine::options(30);
        options.events |= kEventsPrefill;
        engine->engine.generate(id, options);
        engine->finish(id);
        EXPECT_EQ(engine->model.in_flight(), 1u - way);
        engine->model.script.clear();
        engine->model.draws_eos = false;
        engine->append(id, more);
        out[way].resize(kTinyVocab);
        if (logits) engine->engine.logits(id, out[way]);
        engine->engine.generate(id, options);
        heard[way] = engine->finish(id);
      }
      EXPECT_EQ(heard[0].tokens, heard[1].tokens);
      EXPECT_EQ(heard[0].prefill_done, heard[1].prefill_done);
      EXPECT_EQ(out[0], out[1]);
    }
  }
}

// No token could be drawn: the slot's h is that of a token which never was.
TEST_F(EngineFlight, FailedDrawLosesNoState) {
  for (const bool logits : {false, true}) {
    wants_logits = logits;
    test.model.nan_position = 3;
    const SequenceId id = flying();
    Heard heard;
    test.drain(id, &heard);
    EXPECT_EQ(heard.end.finish, FinishReason::kError);
    EXPECT_EQ(test.engine.position(id), 3u);
    EXPECT_EQ(test.engine.stats().generations, 0u);
    test.model.nan_position.reset();
    continues_as_without_flight(id, "abc", 0, "");
  }
}

TEST_F(EngineFlight, CancelWhileItIsWaitedForDropsTheTokenAndTheRow) {
  for (const bool logits : {false, true}) {
    wants_logits = logits;
    const SequenceId id = test.create("abc");
    test.engine.generate(id, TestEngine::options());
    test.model.on_wait = [&] { test.engine.cancel_sequence(id); };
    test.engine.step(0);
    test.model.on_wait = nullptr;
    Heard heard;
    test.drain(id, &heard);
    EXPECT_EQ(heard.end.finish, FinishReason::kCancelled);
    EXPECT_EQ(heard.tokens.size(), 0u);
    EXPECT_EQ(test.engine.position(id), 3u);
    continues_as_without_flight(id, "abc", 0, "");
  }
}

TEST_F(EngineFlight, CancelBetweenStepsVoidsWhatFlies) {
  const SequenceId id = flying();
  const uint32_t begun = test.model.pass_count;
  test.engine.cancel_sequence(id);
  EXPECT_EQ(test.engine.step(0), StepState::kIdle);
  EXPECT_EQ(test.model.pass_count, begun);
  EXPECT_EQ(test.engine.stats().passes, 1u);
  EXPECT_EQ(test.engine.position(id), 4u);
  Heard heard;
  test.drain(id, &heard);
  EXPECT_EQ(heard.end.finish, FinishReason::kCancelled);
  continues_as_without_flight(id, "abc", 1, "");
}

TEST_F(EngineFlight, StopStringAndCallbackStopVoidTheRow) {
  test.model.script = {'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'};
  const SequenceId id = test.create("abc");
  GenerateOptions options = TestEngine::options();
  options.stop_strings = {"de"};
  test.engine.generate(id, options);
  const Heard stopped = test.finish(id);
  EXPECT_EQ(stopped.end.finish, FinishReason::kStop);
  EXPECT_EQ(stopped.end.position, 5u);
  EXPECT_EQ(test.model.in_flight(), 1u);
  Heard heard;
  options = TestEngine::options();
  options.user_data = &heard;
  options.callback = [](void* data, const Event& event) {
    static_cast<Heard*>(data)->hear(event);
    return event.kind == EventKind::kToken ? 1 : 0;
  };
  test.engine.generate(id, options);
  EXPECT_EQ(test.engine.run(0, false), StepState::kIdle);
  EXPECT_EQ(heard.tokens, std::vector<int32_t>{'f'});
  EXPECT_EQ(heard.end.finish, FinishReason::kCancelled);
  EXPECT_EQ(heard.end.position, 6u);
  EXPECT_EQ(heard.ends, 1u);
  EXPECT_EQ(test.model.in_flight(), 0u);
}

// The END's callback starts the next generation while the void row of the old one flies.
TEST_F(EngineFlight, RestartInsideTheEndCallback) {
  struct Chat {
    TestEngine& test;
    std::vector<int32_t> tokens;
    int turns = 0;
    GenerateOptions options() {
      GenerateOptions out = TestEngine::options(40);
      out.sampling.seed = static_cast<uint64_t>(turns);
      out.user_data = this;
      out.callback = [](void* data, const Event& event) {
        auto* const self = static_cast<Chat*>(data);
        if (event.kind == EventKind::kToken) self->tokens.push_back(event.token);
        if (event.kind != EventKind::kEnd || ++self->turns == 40) return 0;
        if (self->turns % 2 == 0) self->test.append(event.sequence, "go on");
        self->test.engine.generate(event.sequence, self->options());
        return 0;
      };
      return out;
    }
  };
  std::vector<int32_t> said[2];
  for (uint32_t way = 0; way < 2; ++way) {
    TestEngine engine({.positions_max = 4096, .passes_ahead = way});
    Chat chat{engine, {}};
    const SequenceId id = engine.create("abc");
    engine.engine.generate(id, chat.options());
    EXPECT_EQ(engine.engine.run(0, false), StepState::kIdle);
    EXPECT_EQ(chat.turns, 40);
    EXPECT_EQ(engine.model.defect, "");
    said[way] = chat.tokens;
  }
  EXPECT_EQ(said[0], said[1]);
  EXPECT_GT(said[0].size(), 200u);
}

// Its slot and pages are free at once: what comes later on the device comes later.
TEST_F(EngineFlight, DestroyedInFlightLeavesItsSlotAndPagesToTheNext) {
  TestEngine tight(ahead({.slots = 1, .page_count = 2}));
  tight.model.draws_eos = false;
  for (int round = 0; round < 5; ++round) {
    const SequenceId old = tight.create(std::string(100, 'q'));
    tight.engine.generate(old, TestEngine::options());
    for (int i = 0; i < 6; ++i) tight.engine.step(0);
    EXPECT_EQ(tight.model.in_flight(), 1u);
    tight.engine.sequence_destroy(old);
    EXPECT_EQ(tight.engine.stats().pages_free, 2u);
    const SequenceId next = tight.create(std::string(70, 'z'));
    EXPECT_EQ(next & 0xffff, old & 0xffff);
    tight.engine.generate(next, TestEngine::options(10));
    const Heard heard = tight.finish(next);
    TestEngine alone;
    alone.model.draws_eos = false;
    const SequenceId same = alone.create(std::string(70, 'z'));
    alone.engine.generate(same, TestEngine::options(10));
    EXPECT_EQ(heard.tokens, alone.finish(same).tokens);
    tight.engine.sequence_destroy(next);
  }
  EXPECT_EQ(tight.model.defect, "");
  EXPECT_EQ(tight.engine.stats().pages_free, 2u);
}

TEST_F(EngineFlight, DestroyedWhileItIsBegunStaysUntilItFlies) {
  const SequenceId other = flying("xyz");
  const SequenceId id = flying();
  test.model.on_segment = [&](uint32_t segment) {
    if (segment != 0) return;
    test.engine.sequence_destroy(id);
    EXPECT_EQ(test.engine.stats().pages_free, 62u);  // a zombie
    test.model.on_segment = nullptr;
  };
  test.engine.step(0);
  EXPECT_EQ(test.engine.stats().pages_free, 63u);
  EXPECT_EQ(test.engine.stats().sequences, 1u);
  EXPECT_EQ(test.engine.step(0), StepState::kReady);
  test.engine.sequence_destroy(other);
}

// Whoever would lose pages may end in the flying pass.
TEST_F(EngineFlight, PreemptionWaitsForWhatFlies) {
  TestEngine tight(ahead({.rows_max = 64, .page_count = 3}));
  tight.model.draws_eos = false;
  uint64_t seen = 0;
  uint32_t preempting = 0;
  tight.model.on_begin = [&] {
    if (tight.engine.stats().preemptions == seen) return;
    seen = tight.engine.stats().preemptions;
    ++preempting;
    EXPECT_EQ(tight.model.in_flight(), 0u);
  };
  SequenceId ids[2];
  for (SequenceId& id : ids) {
    id = tight.create(std::string(50, 'q'));
    tight.engine.generate(id, TestEngine::options(100));
  }
  Heard heard[2];
  for (int i = 0; i < 2; ++i) heard[i] = tight.finish(ids[i]);
  EXPECT_EQ(heard[0].tokens, heard[1].tokens);
  EXPECT_GT(preempting, 0u);
  EXPECT_GT(tight.model.ahead_count, 100u);
  EXPECT_EQ(tight.model.defect, "");
}

// The first ends in the flying pass; what it holds is then seen as without flight.
TEST_F(EngineFlight, RefusalWaitsForWhatFlies) {
  std::string errors[2];
  uint32_t said[2] = {};
  for (uint32_t way = 0; way < 2; ++way) {
    TestEngine tight(
        {.rows_max = 64, .page_count = 2, .policy = OutOfPagesPolicy::kLimit, .passes_ahead = way});
    draw_at(tight, 64, 'y');
    const SequenceId first = tight.create(std::string(60, 'q'));
    const SequenceId second = tight.create(std::string(60, 'q'));
    GenerateOptions options = TestEngine::options();
    options.stop_tokens = {'y'};
    tight.engine.generate(first, options);
    tight.engine.generate(second, TestEngine::options());
    EXPECT_EQ(tight.finish(first).end.finish, FinishReason::kStop);
    Heard heard = tight.finish(second);
    EXPECT_EQ(heard.end.status, Status::kLimit);
    errors[way] = tight.engine.sequence_error(second);
    said[way] = heard.end.position;
  }
  EXPECT_EQ(errors[0], errors[1]);
  EXPECT_NE(errors[0], "");
  EXPECT_EQ(said[0], said[1]);
}

}  // namespace
}  // namespace dsv3::test
