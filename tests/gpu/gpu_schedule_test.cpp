// Goal: on a GPU, where a pass is planned before the one ahead of it is read, every request hears
// what it would hear without that. Method: seeded users whose calls depend only on what they have
// heard, beside others who cancel, destroy and interrupt at any time; run by steps without a budget
// and, on a context of another shape, by steps with one, which never run ahead.
#include <deque>
#include <functional>
#include <random>

#include "gpu/gpu_fixture.h"
#include "support/soak.h"

namespace dsv3::gpu_test {
namespace {

constexpr uint32_t kSequenceTokens = 70;
constexpr uint32_t kCacheTokens = 128;  // of a tiny cache: one sequence fits and little more

struct Shape {
  const char* folder = "";
  int32_t activation_quant = DSV3_ACTIVATION_QUANT_NONE;
  int32_t cache_dtype = DSV3_DTYPE_AUTO;
};

const std::vector<Shape> kShapes = {
    {.folder = "groups_yarn"},
    {.folder = "bf16_shards"},
    {.folder = "odd_widths", .cache_dtype = DSV3_DTYPE_F8_E4M3},
    {.folder = "fp8_cut_blocks", .activation_quant = DSV3_ACTIVATION_QUANT_1X128},
    {.folder = "kimi_style"},
    {.folder = "f16_layer_freq"},
    {.folder = "fp8_cut_blocks", .cache_dtype = DSV3_DTYPE_F8_E4M3},
    {.folder = "moonlight_style", .activation_quant = DSV3_ACTIVATION_QUANT_1X128},
    {.folder = "odd_widths", .activation_quant = DSV3_ACTIVATION_QUANT_1X128},
    {.folder = "negative_bias"},
};

class Dice {
 public:
  explicit Dice(uint32_t seed) : random_(seed) {}
  uint32_t pick(uint32_t low, uint32_t high) {
    return low + static_cast<uint32_t>(random_() % (high - low + 1));
  }
  bool one_in(uint32_t sides) { return random_() % sides == 0; }

 private:
  std::mt19937 random_;
};

struct Turn {
  std::vector<std::string> lines;  // its events but END
  std::string end;
  int32_t finish = DSV3_FINISH_NONE;
};

std::string hex_of(float value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%a", static_cast<double>(value));
  return text;
}

// Talks in turns, in one sequence or in a fresh one. What it says depends on its seed and on what
// it has heard; `is_unruly` also cancels and leaves whenever it likes.
class User {
 public:
  User(dsv3_context* context, uint32_t seed, uint32_t turns_wanted, bool is_unruly)
      : context_(context),
        vocab_(info_of(context).vocab_size),
        dice_(seed),
        whims_(seed + 1),
        turns_left_(turns_wanted),
        is_unruly_(is_unruly) {}

  bool is_done() const { return turns_left_ == 0 && !is_waiting_; }

  void act() {
    if (is_waiting_) listen();
    if (is_waiting_ && is_unruly_ && whims_.one_in(12)) give_up();
    if (!is_waiting_ && turns_left_ > 0) speak();
  }

  void leave() {
    if (id_ != 0) {
      EXPECT_EQ(dsv3_sequence_destroy(context_, id_), DSV3_OK);
    }
    id_ = 0;
  }
  bool has_all_user_data_back() const { return started_ == freed_; }

  std::vector<Turn> turns;

 private:
  void give_up() {
    if (whims_.one_in(2)) {
      EXPECT_EQ(dsv3_sequence_cancel(context_, id_), DSV3_OK);
      return;
    }
    EXPECT_EQ(dsv3_sequence_destroy(context_, id_), DSV3_OK);
    id_ = 0;
    is_waiting_ = false;
  }

  void enter() {
    dsv3_sequence_options options{};
    options.struct_size = sizeof(options);
    options.tokens_max = kSequenceTokens;
    // A sequence that was destroyed keeps its place until its pass is over.
    if (dsv3_sequence_create(context_, &options, &id_) != DSV3_OK) id_ = 0;
  }

  void speak() {
    if (!is_ready_) plan_turn();
    if (id_ == 0) enter();
    if (id_ == 0) return;
    is_ready_ = false;
    --turns_left_;
    uint64_t left = 0;
    EXPECT_EQ(dsv3_sequence_tokens_left(context_, id_, &left), DSV3_OK);
    prompt_.resize(std::min<size_t>(prompt_.size(), left));
    if (!prompt_.empty()) {
      EXPECT_EQ(dsv3_sequence_append_tokens(context_, id_, prompt_.data(), prompt_.size()), DSV3_OK)
          << message_of(context_, id_);
    }
    turns.emplace_back();
    if (wants_logits_) {
      look_at_logits();
      return;
    }
    is_waiting_ = true;
    ++started_;
    const bool is_blocking = is_unruly_ && !is_called_ && whims_.one_in(3);
    const dsv3_status status = is_blocking ? dsv3_generate(context_, id_, &options_, nullptr)
                                           : dsv3_sequence_generate(context_, id_, &options_);
    // Whoever waits inside the call takes no events meanwhile.
    const bool is_ring_full = is_blocking && status == DSV3_LIMIT;
    EXPECT_TRUE(status == DSV3_OK || is_ring_full) << message_of(context_, id_);
    listen();
  }

  void plan_turn() {
    is_ready_ = true;
    if (id_ != 0 && dice_.one_in(4)) leave();
    const bool is_long = dice_.one_in(8);
    prompt_.resize(dice_.pick(1, is_long ? 25 : 6));
    for (int32_t& token : prompt_) token = static_cast<int32_t>(dice_.pick(0, vocab_ - 1));
    wants_logits_ = dice_.one_in(6);
    dsv3_generate_options_init(&options_, sizeof(options_));
    options_.events = DSV3_EVENTS_TOKEN | (dice_.one_in(2) ? DSV3_EVENTS_PREFILL : 0);
    options_.max_tokens = dice_.one_in(12) ? 0 : dice_.pick(1, 8);
    options_.seed = dice_.pick(0, 99);
    options_.temperature = dice_.one_in(3) ? 0.0f : 0.9f;
    options_.top_k = dice_.one_in(2) ? 0 : static_cast<int32_t>(dice_.pick(1, 50));
    options_.top_p = dice_.one_in(2) ? 1.0f : 0.9f;
    options_.min_p = dice_.one_in(2) ? 0.0f : 0.01f;
    options_.repetition_penalty = dice_.one_in(2) ? 1.0f : 1.3f;
    options_.presence_penalty = dice_.one_in(2) ? 0.0f : 0.2f;
    options_.frequency_penalty = dice_.one_in(2) ? 0.0f : 0.1f;
    options_.top_logprobs = dice_.one_in(2) ? 0 : dice_.pick(1, DSV3_TOP_LOGPROBS_MAX);
    biases_.resize(dice_.one_in(2) ? 0 : dice_.pick(1, 30));
    for (dsv3_logit_bias& bias : biases_) {
      bias.token = static_cast<int32_t>(dice_.pick(0, vocab_ - 1));
      bias.bias = dice_.one_in(2) ? -INFINITY : 1.5f;
    }
    stops_.resize(dice_.one_in(2) ? 0 : dice_.pick(1, 8));
    for (int32_t& stop : stops_) stop = static_cast<int32_t>(dice_.pick(0, vocab_ - 1));
    options_.biases = biases_.data();
    options_.bias_count = biases_.size();
    options_.stop_tokens = stops_.data();
    options_.stop_token_count = stops_.size();
    options_.user_data = this;
    options_.free_user_data = [](void* user) { ++static_cast<User*>(user)->freed_; };
    cancels_after_ = 0;
    if (!dice_.one_in(2)) return;
    if (dice_.one_in(3)) cancels_after_ = dice_.pick(1, 9);
    options_.callback = [](void* user, const dsv3_event* event) {
      return static_cast<User*>(user)->be_called(*event);
    };
  }

  void listen() {
    while (is_waiting_) {
      dsv3_event event{};
      event.struct_size = sizeof(event);
      EXPECT_EQ(dsv3_next_event(context_, id_, &event), DSV3_OK);
      if (event.kind == DSV3_EVENT_NONE) return;
      hear(event);
    }
  }

  // Sometimes goes on at once, inside the callback of END.
  int32_t be_called(const dsv3_event& event) {
    is_called_ = true;
    const int32_t answer = hear(event);
    if (!is_waiting_ && turns_left_ > 0 && dice_.one_in(2)) {
      plan_turn();
      if (!wants_logits_) speak();
    }
    is_called_ = false;
    return answer;
  }

  int32_t hear(const dsv3_event& event) {
    EXPECT_TRUE(is_waiting_) << "an event after END, or of nobody";
    if (is_unruly_ && whims_.one_in(20)) {
      EXPECT_EQ(dsv3_interrupt(context_), DSV3_OK);
    }
    if (event.kind == DSV3_EVENT_PREFILL) return 0;
    Turn& turn = turns.back();
    std::string line = std::to_string(event.token) + ' ' + std::to_string(event.position) + ' ';
    if (event.kind == DSV3_EVENT_END) {
      turn.finish = event.finish;
      turn.end = line + std::to_string(event.finish) + ' ' + std::to_string(event.generated);
      is_waiting_ = false;
      uint64_t position = 0;
      EXPECT_EQ(dsv3_sequence_position(context_, id_, &position), DSV3_OK);
      EXPECT_EQ(position, event.position);
      return 0;
    }
    line += hex_of(event.logprob);
    for (uint32_t i = 0; i < event.top_count; ++i) {
      line += ' ' + std::to_string(event.top_tokens[i]) + ':' + hex_of(event.top_logprobs[i]);
    }
    turn.lines.push_back(line);
    return cancels_after_ != 0 && --cancels_after_ == 0 ? 1 : 0;
  }

  // Interrupts may be in the way; a cache that is full of others too.
  void look_at_logits() {
    std::vector<float> logits(vocab_);
    dsv3_status status = DSV3_CANCELLED;
    while (status == DSV3_CANCELLED) {
      status = dsv3_sequence_logits(context_, id_, logits.data(), logits.size());
    }
    Turn& turn = turns.back();
    turn.finish = status == DSV3_OK ? DSV3_FINISH_MAX_TOKENS : DSV3_FINISH_ERROR;
    if (status != DSV3_OK) {
      EXPECT_EQ(status, DSV3_LIMIT) << message_of(context_, id_);
      return;
    }
    for (const float value : logits) turn.end += hex_of(value) + ' ';
  }

  dsv3_context* const context_;
  const uint32_t vocab_;
  Dice dice_;
  Dice whims_;
  uint32_t turns_left_;
  const bool is_unruly_;
  dsv3_sequence id_ = 0;
  bool is_waiting_ = false;
  bool is_ready_ = false;
  bool is_called_ = false;  // inside its callback
  bool wants_logits_ = false;
  uint32_t cancels_after_ = 0;  // events; 0 = never
  uint32_t started_ = 0;
  uint32_t freed_ = 0;
  std::vector<int32_t> prompt_;
  std::vector<dsv3_logit_bias> biases_;
  std::vector<int32_t> stops_;
  dsv3_generate_options options_{};
};

struct Story {
  std::vector<std::vector<Turn>> users;  // the ruly ones
  uint64_t preemptions = 0;
};

struct Cast {
  uint32_t seed = 0;
  uint32_t ruly = 0;
  uint32_t unruly = 0;
  uint32_t turns = 0;
};

using Drive = std::function<void(dsv3_context*)>;

Story play(dsv3_context* context, const Cast& cast, const Drive& drive) {
  std::deque<User> users;
  for (uint32_t i = 0; i < cast.ruly + cast.unruly; ++i) {
    users.emplace_back(context, cast.seed * 1000 + i * 2, cast.turns, i >= cast.ruly);
  }
  bool is_done = false;
  for (int round = 0; round < 200'000 && !is_done; ++round) {
    is_done = true;
    for (User& user : users) {
      user.act();
      is_done = is_done && user.is_done();
    }
    if (!is_done) drive(context);
  }
  EXPECT_TRUE(is_done);
  Story story;
  for (uint32_t i = 0; i < users.size(); ++i) {
    users[i].leave();
    EXPECT_TRUE(users[i].has_all_user_data_back());
    if (i < cast.ruly) story.users.push_back(users[i].turns);
  }
  // What flew for those who left is over after a step.
  while (stats_of(context).sequences != 0 ||
         stats_of(context).pages_free != stats_of(context).pages_total) {
    int32_t state = DSV3_STEP_IDLE;
    EXPECT_EQ(dsv3_step(context, 0, &state), DSV3_OK);
    if (state == DSV3_STEP_IDLE) break;
  }
  const dsv3_stats stats = stats_of(context);
  EXPECT_EQ(stats.generations, 0u);
  EXPECT_EQ(stats.sequences, 0u);
  EXPECT_EQ(stats.pages_free, stats.pages_total);
  story.preemptions = stats.preemptions;
  return story;
}

// Whoever was refused pages heard less, and what it says next is another story.
void expect_same(const std::vector<Turn>& wanted, const std::vector<Turn>& found) {
  for (size_t i = 0; i < std::min(wanted.size(), found.size()); ++i) {
    if (wanted[i].finish == DSV3_FINISH_ERROR || found[i].finish == DSV3_FINISH_ERROR) {
      const size_t common = std::min(wanted[i].lines.size(), found[i].lines.size());
      for (size_t k = 0; k < common; ++k) EXPECT_EQ(wanted[i].lines[k], found[i].lines[k]);
      return;
    }
    EXPECT_EQ(wanted[i].lines, found[i].lines) << "turn " << i;
    EXPECT_EQ(wanted[i].end, found[i].end) << "turn " << i;
  }
  EXPECT_EQ(wanted.size(), found.size());
}

Context open_shape(const Shape& shape, Setup setup) {
  setup.activation_quant = shape.activation_quant;
  setup.cache_dtype = shape.cache_dtype;
  return open(std::string(DSV3_GOLDEN_DIR "/") + shape.folder, setup);
}

Drive mixed_steps(uint32_t seed) {
  return [dice = Dice(seed)](dsv3_context* context) mutable {
    const uint32_t kind = dice.pick(0, 15);
    if (dice.one_in(30)) {
      EXPECT_EQ(dsv3_interrupt(context), DSV3_OK);
    }
    if (kind < 12) {
      EXPECT_EQ(dsv3_step(context, 0, nullptr), DSV3_OK) << message_of(context);
    } else if (kind < 14) {
      EXPECT_EQ(dsv3_step(context, dice.pick(1, 3000), nullptr), DSV3_OK);
    } else {
      EXPECT_EQ(dsv3_run(context, dice.pick(1, 3000), 0, nullptr), DSV3_OK);
    }
  };
}

Drive budgeted_steps() {
  return [](dsv3_context* context) {
    EXPECT_EQ(dsv3_step(context, 200, nullptr), DSV3_OK) << message_of(context);
  };
}

void compare(uint32_t seed) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  Dice dice(seed);
  const Shape& shape = kShapes[seed % kShapes.size()];
  const bool is_tiny = dice.one_in(2);
  constexpr uint32_t kRows[] = {1, 4, 16, 40};
  Cast cast{.seed = seed, .ruly = 3, .unruly = 1, .turns = 2};
  if (dice.one_in(6)) cast = {.seed = seed, .ruly = 1, .unruly = 0, .turns = 4};
  if (dice.one_in(8)) cast = {.seed = seed, .ruly = 18, .unruly = 2, .turns = 1};
  const uint32_t people = cast.ruly + cast.unruly;
  const Context ahead = open_shape(
      shape,
      {.step_tokens_max = kRows[dice.pick(0, 3)],
       .cache_tokens = is_tiny ? kCacheTokens : 8192,
       .sequences_max = people,
       .out_of_pages = dice.one_in(3) ? DSV3_OUT_OF_PAGES_LIMIT : DSV3_OUT_OF_PAGES_PREEMPT});
  const Context behind =
      open_shape(shape, {.step_tokens_max = 24, .cache_tokens = 8192, .sequences_max = people});
  const Story found = play(ahead.get(), cast, mixed_steps(seed));
  const Story wanted = play(behind.get(), {seed, cast.ruly, 0, cast.turns}, budgeted_steps());
  for (size_t i = 0; i < wanted.users.size(); ++i) {
    SCOPED_TRACE("user " + std::to_string(i));
    expect_same(wanted.users[i], found.users[i]);
  }
}

constexpr uint32_t kSeeds = kIsSanitized ? 1 : 10;  // 10: one of each shape

TEST(GpuSchedule, PassesInFlightChangeNothingThatIsHeard) {
  for (uint32_t seed = 0; seed < kSeeds && !HasFailure(); ++seed) {
    compare(test::soak_seeds() + seed);
  }
}

}  // namespace
}  // namespace dsv3::gpu_test
