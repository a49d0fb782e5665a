// Shared by the GoogleTest files of this folder: contexts and generations with their ends tied up.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "dsv3.h"

namespace dsv3_test {

inline std::string message_of(dsv3_context* context, uint64_t sequence = 0) {
  char text[1000] = "";
  dsv3_context_error(context, sequence, text, sizeof(text), nullptr);
  return text;
}

inline dsv3_context_options options_for(const std::string& folder) {
  dsv3_context_options options;
  EXPECT_EQ(dsv3_context_options_init(&options, sizeof(options)), DSV3_OK);
  options.model_path = folder.data();
  options.model_path_bytes = folder.size();
  return options;
}

inline dsv3_threads thread_count(uint32_t count) {
  dsv3_threads threads{};
  threads.struct_size = sizeof(threads);
  threads.count = count;
  return threads;
}

struct DestroyContext {
  void operator()(dsv3_context* context) const {
    EXPECT_EQ(dsv3_context_destroy(context), DSV3_OK);
  }
};
using Context = std::unique_ptr<dsv3_context, DestroyContext>;

inline Context create(const dsv3_context_options& options) {
  dsv3_context* context = nullptr;
  EXPECT_EQ(dsv3_context_create(&options, &context), DSV3_OK) << message_of(context);
  return Context(context);
}

inline Context open(const dsv3_context_options& options) {
  Context context = create(options);
  EXPECT_EQ(dsv3_context_load(context.get(), 0, nullptr), DSV3_OK) << message_of(context.get());
  return context;
}

inline Context open_sample() {
  const std::string folder = DSV3_SAMPLE_MODEL;
  return open(options_for(folder));
}

inline dsv3_sequence start_text(dsv3_context* context, const std::string& text) {
  dsv3_sequence sequence = 0;
  EXPECT_EQ(dsv3_sequence_create(context, nullptr, &sequence), DSV3_OK) << message_of(context);
  EXPECT_EQ(dsv3_sequence_append_text(context, sequence, text.data(), text.size(), 0), DSV3_OK)
      << message_of(context, sequence);
  return sequence;
}

inline dsv3_generate_options greedy(uint64_t max_tokens) {
  dsv3_generate_options options;
  EXPECT_EQ(dsv3_generate_options_init(&options, sizeof(options)), DSV3_OK);
  options.temperature = 0.0f;
  options.max_tokens = max_tokens;
  return options;
}

// Everything a generation tells.
struct Heard {
  std::string text;
  std::vector<int32_t> tokens;
  int ends = 0;
  int32_t finish = DSV3_FINISH_NONE;

  static int32_t hear(void* user_data, const dsv3_event* event) {
    auto* const heard = static_cast<Heard*>(user_data);
    if (event->kind == DSV3_EVENT_TEXT) heard->text.append(event->text, event->text_bytes);
    if (event->kind == DSV3_EVENT_TOKEN) heard->tokens.push_back(event->token);
    if (event->kind == DSV3_EVENT_END) {
      ++heard->ends;
      heard->finish = event->finish;
    }
    return 0;
  }

  dsv3_generate_options options(uint64_t max_tokens) {
    dsv3_generate_options out = greedy(max_tokens);
    out.events = DSV3_EVENTS_TEXT | DSV3_EVENTS_TOKEN;
    out.callback = &hear;
    out.user_data = this;
    return out;
  }
};

}  // namespace dsv3_test
