// Goal: whatever the schedule, each stream says what the same request says alone, with exactly one
// END, and no page is lost. Method: seeded random calls against small page pools, then a replay of
// every sequence in an engine of its own.
#include <algorithm>
#include <cstdlib>
#include <deque>
#include <random>

#include "engine/engine_fixture.h"
#include "support/soak.h"

namespace dsv3::test {
namespace {

// One generation as it was asked for and heard.
struct Turn {
  std::string appended;  // before it, since the turn before
  GenerateOptions options;
  Heard heard;
  uint32_t callback_cancels_after = 0;  // events; 0 = never
  uint32_t callbacks = 0;
  uint32_t releases = 0;

  bool has_cancelled() const {
    return callback_cancels_after != 0 && callbacks >= callback_cancels_after;
  }
};

struct Actor {
  SequenceId id = 0;
  bool is_destroyed = false;
  std::string pending;     // appended since the last turn
  std::deque<Turn> turns;  // addresses are user_data

  bool is_generating() const { return !turns.empty() && turns.back().heard.ends == 0; }
};

int32_t on_event(void* user_data, const Event& event) {
  auto* turn = static_cast<Turn*>(user_data);
  turn->heard.hear(event);
  ++turn->callbacks;
  return turn->callbacks == turn->callback_cancels_after ? 1 : 0;
}

class Schedule {
 public:
  Schedule(uint32_t seed, const EngineConfig& base)
      : random_(seed), config_(random_config(base)), test_(config_) {
    test_.model.segments = pick(1, 4);
  }

  void run(uint32_t calls) {
    for (uint32_t i = 0; i < calls; ++i) random_call();
    settle();
    for (const Actor& actor : actors_) check_actor(actor);
    EXPECT_EQ(test_.model.defect, "");
    const EngineStats stats = test_.engine.stats();
    EXPECT_EQ(stats.generations, 0u);
    for (Actor& actor : actors_) {
      if (!actor.is_destroyed) test_.engine.sequence_destroy(actor.id);
    }
    EXPECT_EQ(test_.engine.stats().sequences, 0u);
    EXPECT_EQ(test_.engine.stats().pages_free, config_.page_count);
    preemptions = stats.preemptions;
  }

  uint64_t preemptions = 0;
  uint32_t compared = 0;  // turns that were replayed
  uint32_t limited = 0;   // turns that ended ERROR/LIMIT

 private:
  uint32_t pick(uint32_t low, uint32_t high) {
    return std::uniform_int_distribution<uint32_t>(low, high)(random_);
  }

  EngineConfig random_config(EngineConfig config) {
    config.rows_max = pick(1, 40);
    config.slots = pick(2, 6);
    config.page_count = pick(2, 10);
    config.positions_max = pick(100, 400);
    config.prefill_tokens_max = pick(0, 1) == 0 ? 0 : pick(1, config.rows_max);
    return config;
  }

  Actor* random_actor() {
    std::vector<Actor*> living;
    for (Actor& actor : actors_) {
      if (!actor.is_destroyed) living.push_back(&actor);
    }
    if (living.empty()) return nullptr;
    return living[pick(0, static_cast<uint32_t>(living.size()) - 1)];
  }

  void random_call() {
    const uint32_t kind = pick(0, 99);
    Actor* actor = random_actor();
    if (kind < 40) return step();
    if (actor == nullptr || kind < 43) return create();
    if (kind < 55) return append(*actor);
    if (kind < 70) return generate(*actor);
    if (kind < 88) return take_events(*actor, pick(1, 30));
    if (kind < 92) return test_.engine.cancel_sequence(actor->id);
    if (kind < 93) return test_.engine.cancel_all();
    if (kind < 95) return test_.engine.interrupt();
    if (kind < 96) return inject();
    if (kind < 97) return arm();
    if (kind < 98 && config_.policy == OutOfPagesPolicy::kPreempt) return ask_logits(*actor);
    if (kind == 99) return destroy(*actor);
  }

  void step() {
    try {
      test_.engine.step(pick(0, 2) == 0 ? pick(50, 3000) : 0);
    } catch (const Error& error) {
      ASSERT_EQ(error.message(), "injected");
    }
    disarm();
  }

  void inject() {
    constexpr Status kRollBack[] = {Status::kOutOfMemory, Status::kIo, Status::kLimit,
                                    Status::kCancelled};
    std::optional<Status>* const places[] = {&test_.model.fail_next, &test_.model.fail_begin,
                                             &test_.model.fail_wait};
    *places[pick(0, 2)] = kRollBack[pick(0, 3)];
  }

  // Somebody is cancelled, or the step interrupted, while a segment runs or results are awaited.
  void arm() {
    const SequenceId id = random_actor()->id;
    const bool interrupts = pick(0, 3) == 0;
    auto& waits = test_.model.on_wait;
    auto& runs = test_.model.on_segment;
    const auto fire = [this, id, interrupts] {
      interrupts ? test_.engine.interrupt() : test_.engine.cancel_sequence(id);
    };
    waits = nullptr;
    runs = nullptr;
    if (pick(0, 1) == 0) waits = fire;
    if (waits == nullptr) runs = [fire](uint32_t) { fire(); };
  }

  void disarm() {
    test_.model.on_wait = nullptr;
    test_.model.on_segment = nullptr;
  }

  void create() {
    if (test_.engine.stats().sequences == config_.slots) return;
    SequenceId id = 0;
    const Error error = error_of([&] { id = test_.engine.sequence_create({0, pick(8, 40)}); });
    if (error.status() == Status::kLimit) return;  // a destroyed one is still in a pass
    actors_.emplace_back().id = id;
  }

  void append(Actor& actor) {
    if (actor.is_generating()) return;
    const uint32_t count = std::min(pick(1, 120), test_.engine.tokens_left(actor.id));
    std::string bytes;
    for (uint32_t i = 0; i < count; ++i) bytes.push_back(static_cast<char>(pick('A', 'Z')));
    test_.append(actor.id, bytes);
    actor.pending += bytes;
  }

  void generate(Actor& actor) {
    if (actor.is_generating() || test_.engine.position(actor.id) == 0) return;
    take_events(actor, 1000);
    Turn& turn = actor.turns.emplace_back();
    turn.appended = std::exchange(actor.pending, "");
    GenerateOptions options = TestEngine::options(pick(0, 3) == 0 ? 0 : pick(1, 60));
    options.sampling.seed = pick(0, 1000);
    if (pick(0, 3) == 0) options.stop_strings = {"th", "e", "qq"};
    if (pick(0, 3) == 0) options.biases = {{'e', -INFINITY}, {kTinyEos, -INFINITY}};
    if (pick(0, 3) == 0) options.events |= kEventsPrefill;
    options.user_data = &turn;
    options.free_user_data = [](void* data) { ++static_cast<Turn*>(data)->releases; };
    if (pick(0, 2) == 0) {
      options.callback = on_event;
      if (pick(0, 3) == 0) turn.callback_cancels_after = pick(1, 40);
    }
    turn.options = options;
    test_.engine.generate(actor.id, options);
  }

  void take_events(Actor& actor, uint32_t count) {
    Event event;
    while (count-- > 0 && test_.engine.next_event(actor.id, &event)) {
      ASSERT_FALSE(actor.turns.empty());
      actor.turns.back().heard.hear(event);
    }
  }

  void ask_logits(Actor& actor) {
    if (actor.is_generating() || test_.engine.position(actor.id) == 0) return;
    std::vector<float> out(kTinyVocab);
    const Error error = error_of([&] { test_.engine.logits(actor.id, out); });
    const bool is_expected = error.status() == Status::kOk || error.message() == "injected" ||
                             error.message() == "logits: interrupted" ||
                             error.status() == Status::kLimit;  // others' rings are full
    EXPECT_TRUE(is_expected) << error.message();
  }

  void destroy(Actor& actor) {
    test_.engine.sequence_destroy(actor.id);
    actor.is_destroyed = true;
    for (const Turn& turn : actor.turns) EXPECT_EQ(turn.releases, 1u);
  }

  void settle() {
    disarm();
    test_.model.fail_begin.reset();
    test_.model.fail_next.reset();
    test_.model.fail_wait.reset();
    for (int i = 0; i < 20000; ++i) {
      const StepState state = test_.engine.step(0);
      bool is_generating = false;
      for (Actor& actor : actors_) {
        if (actor.is_destroyed) continue;
        take_events(actor, 1000);
        is_generating = is_generating || actor.is_generating();
      }
      if (!is_generating && state == StepState::kIdle) return;
    }
    FAIL() << "generations do not end";
  }

  void check_actor(const Actor& actor) {
    EngineConfig config = config_;
    config.positions_max = std::min(config.positions_max, config.page_count * kPageTokens);
    config.page_count = 8;
    config.slots = 1;
    config.rows_max = 64;
    config.passes_ahead = 0;
    TestEngine alone(config);
    const SequenceId id = alone.create();
    for (const Turn& turn : actor.turns) {
      const bool is_last = &turn == &actor.turns.back();
      if (actor.is_destroyed && is_last) break;  // where it stopped is not known
      EXPECT_EQ(turn.heard.ends, 1u);
      EXPECT_EQ(turn.heard.after_end, 0u);
      EXPECT_EQ(turn.releases, 1u);
      alone.append(id, turn.appended);
      check_turn(turn, alone, id);
    }
  }

  void check_turn(const Turn& turn, TestEngine& alone, SequenceId id) {
    const Event& end = turn.heard.end;
    const bool is_cut =
        end.finish == FinishReason::kCancelled || end.finish == FinishReason::kError;
    if (end.finish == FinishReason::kError) {
      EXPECT_EQ(end.status, Status::kLimit);
      ++limited;
    }
    if (is_cut && end.generated == 0) return;
    GenerateOptions options = turn.options;
    options.callback = nullptr;
    options.user_data = nullptr;
    options.free_user_data = nullptr;
    if (is_cut) options.max_tokens = end.generated;
    alone.engine.generate(id, options);
    const Heard wanted = alone.finish(id);
    ++compared;
    EXPECT_EQ(end.position, wanted.end.position);
    // A callback that cancels in the last pass gets the real END, and no more of its text.
    if (is_cut || turn.has_cancelled()) {
      ASSERT_LE(turn.heard.tokens.size(), wanted.tokens.size());
      EXPECT_TRUE(
          std::equal(turn.heard.tokens.begin(), turn.heard.tokens.end(), wanted.tokens.begin()));
      EXPECT_EQ(wanted.text.compare(0, turn.heard.text.size(), turn.heard.text), 0);
    } else {
      EXPECT_EQ(turn.heard.tokens, wanted.tokens);
      EXPECT_EQ(turn.heard.text, wanted.text);
      EXPECT_EQ(turn.heard.reasoning, wanted.reasoning);
      EXPECT_EQ(end.finish, wanted.end.finish);
    }
  }

  std::mt19937 random_;
  EngineConfig config_;
  TestEngine test_;
  std::deque<Actor> actors_;
};

struct EngineSchedule : BothWays {};
DSV3_TEST_BOTH_WAYS(EngineSchedule);

TEST_P(EngineSchedule, PreemptingSchedulesSayTheSameAsAlone) {
  uint64_t preemptions = 0;
  uint32_t compared = 0;
  const uint32_t first = test::soak_seeds() + 1;
  for (uint32_t seed = first; seed < first + 120; ++seed) {
    SCOPED_TRACE(seed);
    Schedule schedule(seed, config());
    schedule.run(300);
    preemptions += schedule.preemptions;
    compared += schedule.compared;
    EXPECT_EQ(schedule.limited, 0u);
    if (testing::Test::HasFailure()) break;
  }
  EXPECT_GT(preemptions, 120u);  // else the pools were too large to test anything
  EXPECT_GT(compared, 500u);
}

TEST_P(EngineSchedule, LimitingSchedulesSayTheSameAsAlone) {
  uint32_t compared = 0;
  uint32_t limited = 0;
  const uint32_t first = test::soak_seeds() + 1001;
  for (uint32_t seed = first; seed < first + 40; ++seed) {
    SCOPED_TRACE(seed);
    Schedule schedule(seed, config({.policy = OutOfPagesPolicy::kLimit}));
    schedule.run(300);
    EXPECT_EQ(schedule.preemptions, 0u);
    compared += schedule.compared;
    limited += schedule.limited;
    if (testing::Test::HasFailure()) break;
  }
  EXPECT_GT(compared, 100u);
  EXPECT_GT(limited, 30u);
}

}  // namespace
}  // namespace dsv3::test
