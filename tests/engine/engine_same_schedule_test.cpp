// Goal: with a pass in flight every request hears the same events in the same order as without, for
// equal seeds. Method: seeded users whose calls depend only on what they have heard, run both ways;
// and schedules without surprises, compared call by call.
#include <algorithm>
#include <deque>
#include <random>

#include "engine/engine_fixture.h"
#include "support/soak.h"

namespace dsv3::test {
namespace {

std::string line_of(const Event& event) {
  const std::string_view text(event.text == nullptr ? "" : event.text, event.text_bytes);
  return str(static_cast<int>(event.kind), ' ', static_cast<int>(event.channel), ' ',
             static_cast<int>(event.finish), ' ', static_cast<int>(event.status), ' ', event.token,
             ' ', event.position, ' ', event.generated, ' ', event.logprob, ' ', event.top_count,
             ' ', text);
}

// Makes turn after turn in one sequence, then leaves it for a fresh one.
class User {
 public:
  User(TestEngine& test, uint32_t seed, uint32_t turns)
      : test_(test), random_(seed), turns_left_(turns) {}

  bool is_done() const { return turns_left_ == 0 && !is_waiting_; }

  // Speaks when it is its turn, listens else.
  void act() {
    if (is_waiting_) listen();
    if (!is_waiting_ && turns_left_ > 0) speak();
  }

  std::vector<std::string> heard;     // all but prefill progress
  std::vector<std::string> prefills;  // the last of each turn
  uint32_t surprises = 0;             // ends that no limit had announced

 private:
  uint32_t pick(uint32_t low, uint32_t high) {
    return std::uniform_int_distribution<uint32_t>(low, high)(random_);
  }

  void speak() {
    if (id_ != 0 && pick(0, 5) == 0) {
      test_.engine.sequence_destroy(id_);
      id_ = 0;
    }
    if (id_ == 0) id_ = test_.engine.sequence_create({pick(0, 3) == 0 ? pick(80, 200) : 0, 64});
    const uint32_t left = test_.engine.tokens_left(id_);
    const bool is_empty = test_.engine.position(id_) == 0;
    const uint32_t most = pick(0, 2) == 0 ? 100 : 5;
    const uint32_t count = std::min(left, pick(is_empty ? 1 : 0, most));
    test_.append(id_, std::string(count, static_cast<char>(pick('A', 'Z'))));
    GenerateOptions options = TestEngine::options(pick(0, 2) == 0 ? 0 : pick(1, 70));
    options.sampling.seed = pick(0, 9);
    options.top_logprobs = pick(0, 3);
    if (pick(0, 3) == 0) options.stop_strings = {"th", "e", "qq"};
    if (pick(0, 3) == 0) options.biases = {{'e', -INFINITY}, {kTinyEos, -INFINITY}};
    options.events |= kEventsPrefill;
    cancels_after_ = 0;
    if (pick(0, 1) == 0) {
      if (pick(0, 2) == 0) cancels_after_ = pick(1, 30);
      options.user_data = this;
      options.callback = [](void* data, const Event& event) {
        return static_cast<User*>(data)->hear(event) ? 1 : 0;
      };
    }
    is_waiting_ = true;
    --turns_left_;
    test_.engine.generate(id_, options);
    listen();
  }

  void listen() {
    Event event;
    while (is_waiting_ && test_.engine.next_event(id_, &event)) hear(event);
  }

  // True: stop.
  bool hear(const Event& event) {
    if (event.kind == EventKind::kPrefillProgress) {
      prefill_ = str(event.prefill_done, '/', event.prefill_total);
      return false;
    }
    heard.push_back(line_of(event));
    if (event.kind == EventKind::kEnd) {
      is_waiting_ = false;
      prefills.push_back(std::exchange(prefill_, ""));
      const bool by_limit =
          event.finish == FinishReason::kMaxTokens || event.finish == FinishReason::kContextFull;
      if (!by_limit) ++surprises;
    }
    return cancels_after_ != 0 && --cancels_after_ == 0;
  }

  TestEngine& test_;
  std::mt19937 random_;
  uint32_t turns_left_;
  SequenceId id_ = 0;
  bool is_waiting_ = false;
  uint32_t cancels_after_ = 0;  // events; 0 = never
  std::string prefill_;
};

EngineConfig random_config(std::mt19937& random, uint32_t passes_ahead) {
  const auto pick = [&random](uint32_t low, uint32_t high) {
    return std::uniform_int_distribution<uint32_t>(low, high)(random);
  };
  EngineConfig config;
  config.rows_max = pick(2, 40);
  config.slots = 6;
  config.page_count = pick(0, 1) == 0 ? 40 : pick(4, 12);
  config.positions_max = 256;
  config.passes_ahead = passes_ahead;
  return config;
}

// What all users heard of one seed.
struct Story {
  Story(uint32_t seed, uint32_t passes_ahead, bool has_failures) {
    std::mt19937 random(seed);
    TestEngine test(random_config(random, passes_ahead));
    test.model.segments = 1 + random() % 4;
    if (random() % 3 == 0) test.model.nan_position = 20 + random() % 100;
    std::deque<User> users;
    for (uint32_t i = 0; i < 5; ++i) users.emplace_back(test, seed * 10 + i, 6);
    bool is_done = false;
    for (int round = 0; round < 50000 && !is_done; ++round) {
      is_done = true;
      for (User& user : users) {
        user.act();
        is_done = is_done && user.is_done();
      }
      if (has_failures && random() % 8 == 0) inject(test.model, random());
      const Error error =
          error_of([&] { test.engine.step(random() % 4 == 0 ? random() % 2000 : 0); });
      EXPECT_TRUE(error.status() == Status::kOk || error.message() == "injected");
    }
    EXPECT_TRUE(is_done);
    EXPECT_EQ(test.model.defect, "") << passes_ahead;
    for (const User& user : users) {
      heard.push_back(user.heard);
      prefills.push_back(user.prefills);
      surprises += user.surprises;
    }
    ahead_count = test.model.ahead_count;
    preemptions = test.engine.stats().preemptions;
  }

  static void inject(FakeModel& model, uint64_t random) {
    std::optional<Status>* const places[] = {&model.fail_begin, &model.fail_next, &model.fail_wait};
    *places[random % 3] = random / 3 % 2 == 0 ? Status::kOutOfMemory : Status::kIo;
  }

  std::vector<std::vector<std::string>> heard;
  std::vector<std::vector<std::string>> prefills;
  uint32_t surprises = 0;
  uint32_t ahead_count = 0;
  uint64_t preemptions = 0;
};

void compare_stories(uint32_t first, uint32_t count, bool has_failures) {
  uint64_t ahead_count = 0;
  uint64_t preemptions = 0;
  uint32_t surprises = 0;
  for (uint32_t seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE(seed);
    const Story without(seed, 0, has_failures);
    const Story with(seed, 1, has_failures);
    EXPECT_EQ(without.heard, with.heard);
    // A preempted sequence has all of its prompt before it again.
    if (without.preemptions + with.preemptions == 0) {
      EXPECT_EQ(without.prefills, with.prefills);
    }
    ahead_count += with.ahead_count;
    preemptions += with.preemptions;
    surprises += with.surprises;
    if (testing::Test::HasFailure()) break;
  }
  EXPECT_GT(ahead_count, count * 50u);
  EXPECT_GT(surprises, count * 5u);
  EXPECT_GT(preemptions, 0u);
}

TEST(EngineScheduleSame, UsersHearTheSame) {
  compare_stories(soak_seeds() + 1, 60, /*has_failures=*/false);
}

TEST(EngineScheduleSame, UsersHearTheSameDespiteFailures) {
  compare_stories(soak_seeds() + 5001, 60, /*has_failures=*/true);
}

// Limits are the only ends here, so each step plans and commits the very same pass.
class Calm {
 public:
  Calm(uint32_t seed, uint32_t passes_ahead)
      : random_(seed), test_(random_config(random_, passes_ahead)) {
    test_.model.draws_eos = false;
    for (uint32_t i = 0; i < 6; ++i) {
      const auto length = static_cast<uint32_t>(1 + random_() % 120);
      ids_.push_back(test_.create(std::string(length, 'q'), 8 + random_() % 40));
      GenerateOptions options = TestEngine::options(static_cast<uint32_t>(random_() % 80));
      options.events |= kEventsPrefill;
      if (random_() % 5 != 0) test_.engine.generate(ids_.back(), options);
    }
  }

  // One step: what it did, in words. Empty when all is over.
  std::string step() {
    test_.engine.step(0);
    const EngineStats stats = test_.engine.stats();
    std::string out = str(stats.passes, ' ', stats.tokens_prefilled, ' ', stats.tokens_generated,
                          ' ', stats.tokens_recomputed, ' ', stats.preemptions, '\n');
    Event event;
    for (const SequenceId id : ids_) {
      out += str(id, ": ", test_.engine.position(id), '\n');
      while (test_.engine.next_event(id, &event)) {
        out += str(line_of(event), ' ', event.prefill_done, '/', event.prefill_total, '\n');
      }
    }
    EXPECT_EQ(test_.model.defect, "");
    return stats.generations == 0 ? "" : out;
  }

  uint32_t ahead_count() const { return test_.model.ahead_count; }

 private:
  std::mt19937 random_;
  TestEngine test_;
  std::vector<SequenceId> ids_;
};

TEST(EngineScheduleSame, CalmSchedulesAreTheSameCallByCall) {
  uint64_t ahead_count = 0;
  uint32_t steps = 0;
  const uint32_t first = soak_seeds() + 9001;
  for (uint32_t seed = first; seed < first + 60; ++seed) {
    SCOPED_TRACE(seed);
    Calm without(seed, 0);
    Calm with(seed, 1);
    std::string wanted;
    do {
      wanted = without.step();
      ASSERT_EQ(with.step(), wanted);
      ++steps;
    } while (!wanted.empty());
    ahead_count += with.ahead_count();
  }
  EXPECT_GT(steps, 60u * 50u);
  EXPECT_GT(ahead_count, steps / 2);  // most passes were planned on top of another
}

}  // namespace
}  // namespace dsv3::test
