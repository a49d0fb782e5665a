// Goal: who may call what, as the header says. Method: calls from inside callbacks, from other
// threads during a step, cancels at random moments, two contexts in two threads, and a time budget
// on a long prompt.
#include <atomic>
#include <chrono>
#include <random>
#include <thread>

#include "api_model.h"

namespace dsv3_test {
namespace {

// STEP calls are BUSY inside a callback; SHARED and ANY calls work.
struct InsideCallback {
  dsv3_context* context = nullptr;
  dsv3_sequence sequence = 0;
  int events = 0;

  static int32_t hear(void* user_data, const dsv3_event* event) {
    auto* const self = static_cast<InsideCallback*>(user_data);
    dsv3_context* const context = self->context;
    ++self->events;
    int32_t value = 0;
    float logits[1];
    EXPECT_EQ(dsv3_step(context, 0, &value), DSV3_BUSY);
    EXPECT_EQ(dsv3_run(context, 0, 0, &value), DSV3_BUSY);
    EXPECT_EQ(dsv3_generate(context, self->sequence, nullptr, &value), DSV3_BUSY);
    EXPECT_EQ(dsv3_sequence_logits(context, self->sequence, logits, 1), DSV3_BUSY);
    EXPECT_EQ(dsv3_context_load(context, 0, &value), DSV3_BUSY);
    EXPECT_EQ(dsv3_context_set_threads(context, nullptr), DSV3_BUSY);
    dsv3_plan plan{};
    plan.struct_size = sizeof(plan);
    EXPECT_EQ(dsv3_context_plan(context, &plan), DSV3_BUSY);
    EXPECT_EQ(dsv3_context_destroy(context), DSV3_BUSY);

    uint64_t count = 0;
    EXPECT_EQ(dsv3_sequence_position(context, event->sequence, &count), DSV3_OK);
    EXPECT_EQ(dsv3_tokenize(context, "a", 1, 0, nullptr, 0, &count), DSV3_LIMIT);
    dsv3_sequence other = 0;
    EXPECT_EQ(dsv3_sequence_create(context, nullptr, &other), DSV3_OK);
    EXPECT_EQ(dsv3_sequence_destroy(context, other), DSV3_OK);
    dsv3_stats stats{};
    stats.struct_size = sizeof(stats);
    EXPECT_EQ(dsv3_context_stats(context, &stats), DSV3_OK);
    return 0;
  }
};

TEST(CallingClasses, InsideACallback) {
  const Context context = open_sample();
  InsideCallback inside;
  inside.context = context.get();
  inside.sequence = start_text(context.get(), "ROMEO:");
  dsv3_generate_options options = greedy(4);
  options.callback = &InsideCallback::hear;
  options.user_data = &inside;
  EXPECT_EQ(dsv3_generate(context.get(), inside.sequence, &options, nullptr), DSV3_OK);
  EXPECT_GT(inside.events, 1);
}

// A callback that destroys its own sequence hears nothing more.
TEST(CallingClasses, DestroyInOwnCallback) {
  const Context context = open_sample();
  struct State {
    dsv3_context* context;
    int events = 0;
    int freed = 0;
  } state{context.get()};
  const dsv3_sequence sequence = start_text(context.get(), "ROMEO:");
  dsv3_generate_options options = greedy(20);
  options.callback = [](void* user_data, const dsv3_event* event) {
    auto* const self = static_cast<State*>(user_data);
    ++self->events;
    EXPECT_EQ(dsv3_sequence_destroy(self->context, event->sequence), DSV3_OK);
    return int32_t{0};
  };
  options.user_data = &state;
  options.free_user_data = [](void* user_data) { ++static_cast<State*>(user_data)->freed; };
  EXPECT_EQ(dsv3_sequence_generate(context.get(), sequence, &options), DSV3_OK);
  EXPECT_EQ(dsv3_run(context.get(), 0, 0, nullptr), DSV3_OK);
  EXPECT_EQ(state.events, 1);
  EXPECT_EQ(state.freed, 1);
  uint64_t position = 0;
  EXPECT_EQ(dsv3_sequence_position(context.get(), sequence, &position), DSV3_INVALID_ARGUMENT);
}

// While one thread runs, a second STEP call is BUSY and SHARED calls go through.
TEST(CallingClasses, FromOtherThreads) {
  const Context context = open_sample();
  std::atomic<bool> stop{false};
  std::thread runner([&] {
    while (!stop.load()) {
      const dsv3_status status = dsv3_run(context.get(), 0, DSV3_RUN_WAIT, nullptr);
      EXPECT_TRUE(status == DSV3_OK || status == DSV3_BUSY) << dsv3_status_name(status);
    }
  });
  std::vector<std::thread> callers;
  for (int i = 0; i < 3; ++i) {
    callers.emplace_back([&context] {
      for (int round = 0; round < 4; ++round) {
        const dsv3_sequence sequence = start_text(context.get(), "MERCUTIO:\n");
        dsv3_generate_options options = greedy(8);
        EXPECT_EQ(dsv3_sequence_generate(context.get(), sequence, &options), DSV3_OK);
        dsv3_event event{};
        event.struct_size = sizeof(event);
        while (event.kind != DSV3_EVENT_END) {
          EXPECT_EQ(dsv3_next_event(context.get(), sequence, &event), DSV3_OK);
          if (event.kind == DSV3_EVENT_NONE) std::this_thread::yield();
        }
        EXPECT_EQ(event.finish, DSV3_FINISH_MAX_TOKENS);
        EXPECT_EQ(dsv3_sequence_destroy(context.get(), sequence), DSV3_OK);
      }
    });
  }
  // The runner holds the gate nearly always: soon a second STEP call finds it there.
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  bool was_busy = false;
  while (!was_busy && std::chrono::steady_clock::now() < deadline) {
    const dsv3_status status = dsv3_step(context.get(), 1, nullptr);
    EXPECT_TRUE(status == DSV3_OK || status == DSV3_BUSY) << dsv3_status_name(status);
    was_busy = status == DSV3_BUSY;
    std::this_thread::yield();
  }
  for (std::thread& caller : callers) caller.join();
  stop.store(true);
  EXPECT_EQ(dsv3_interrupt(context.get()), DSV3_OK);
  runner.join();
  EXPECT_TRUE(was_busy);
}

TEST(CallingClasses, CancelAtRandomMoments) {
  const Context context = open_sample();
  std::mt19937 random(7);
  for (int round = 0; round < 20; ++round) {
    const dsv3_sequence sequence = start_text(context.get(), "KING HENRY:\nOnce more");
    Heard heard;
    const dsv3_generate_options options = heard.options(0);
    EXPECT_EQ(dsv3_sequence_generate(context.get(), sequence, &options), DSV3_OK);
    const auto delay = std::chrono::microseconds(random() % 8000);
    std::thread canceller([&] {
      std::this_thread::sleep_for(delay);
      if (round % 2 == 0) {
        EXPECT_EQ(dsv3_cancel(context.get()), DSV3_OK);
      } else {
        EXPECT_EQ(dsv3_sequence_cancel(context.get(), sequence), DSV3_OK);
      }
    });
    EXPECT_EQ(dsv3_run(context.get(), 0, 0, nullptr), DSV3_OK);
    canceller.join();
    EXPECT_EQ(heard.ends, 1);
    EXPECT_TRUE(heard.finish == DSV3_FINISH_CANCELLED || heard.finish == DSV3_FINISH_EOS ||
                heard.finish == DSV3_FINISH_CONTEXT_FULL)
        << heard.finish;
    uint64_t position = 0;
    EXPECT_EQ(dsv3_sequence_position(context.get(), sequence, &position), DSV3_OK);
    EXPECT_GE(position, heard.tokens.size());
    EXPECT_EQ(dsv3_sequence_destroy(context.get(), sequence), DSV3_OK);
  }
}

std::string text_alone(dsv3_context* context, const std::string& prompt) {
  const dsv3_sequence sequence = start_text(context, prompt);
  Heard heard;
  const dsv3_generate_options options = heard.options(24);
  EXPECT_EQ(dsv3_generate(context, sequence, &options, nullptr), DSV3_OK);
  EXPECT_EQ(dsv3_sequence_destroy(context, sequence), DSV3_OK);
  return heard.text;
}

TEST(CallingClasses, TwoContextsInTwoThreads) {
  const Context reference = open_sample();
  const std::string wanted = text_alone(reference.get(), "BRUTUS:\n");
  ASSERT_GT(wanted.size(), 10u);
  std::string found[2];
  std::vector<std::thread> threads;
  for (std::string& out : found) {
    threads.emplace_back([&out] {
      const Context own = open_sample();
      for (int i = 0; i < 3; ++i) out = text_alone(own.get(), "BRUTUS:\n");
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(found[0], wanted);
  EXPECT_EQ(found[1], wanted);
}

// A budget ends a call inside a pass, the next resumes it, and the text is the same.
TEST(CallingClasses, BudgetedStepsMakeTheSameText) {
  const Context context = open_sample();
  std::string prompt;
  for (int i = 0; i < 6; ++i) prompt += "Now is the winter of our discontent made glorious. ";
  const std::string wanted = text_alone(context.get(), prompt);
  const dsv3_sequence sequence = start_text(context.get(), prompt);
  Heard heard;
  const dsv3_generate_options options = heard.options(24);
  ASSERT_EQ(dsv3_sequence_generate(context.get(), sequence, &options), DSV3_OK);
  int partial = 0;
  while (heard.ends == 0) {
    int32_t state = -1;
    ASSERT_EQ(dsv3_step(context.get(), 200, &state), DSV3_OK);
    partial += state == DSV3_STEP_PARTIAL ? 1 : 0;
    ASSERT_NE(state, DSV3_STEP_STALLED);
  }
  EXPECT_GT(partial, 0);
  EXPECT_EQ(heard.text, wanted);
}

}  // namespace
}  // namespace dsv3_test
