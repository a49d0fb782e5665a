// Contexts on the GPU and on the CPU through dsv3.h alone. In the daily tests the GPU is the
// emulated one; `./dev gpu-bundle` builds the same tests for a real one.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "dsv3.h"

namespace dsv3::gpu_test {

inline bool is_emulated() { return std::strstr(dsv3_build_info(), "emulated") != nullptr; }

// The emulator under a sanitizer takes minutes where it takes seconds: fewer rounds say the same.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kIsSanitized = true;
#else
inline constexpr bool kIsSanitized = false;
#endif

inline std::string message_of(dsv3_context* context, dsv3_sequence sequence = 0) {
  char text[1000] = "";
  if (context != nullptr) dsv3_context_error(context, sequence, text, sizeof(text), nullptr);
  return text;
}

struct Setup {
  int32_t kind = DSV3_DEVICE_CUDA;
  int32_t ordinal = 0;
  uint64_t bytes_max = 0;
  int32_t activation_quant = DSV3_ACTIVATION_QUANT_NONE;
  int32_t cache_dtype = DSV3_DTYPE_AUTO;
  int32_t gpu_priority = 0;
  uint32_t step_tokens_max = 64;
  uint64_t cache_tokens = 1024;
  uint32_t sequences_max = 4;
  int32_t out_of_pages = DSV3_OUT_OF_PAGES_PREEMPT;
};

struct DestroyContext {
  void operator()(dsv3_context* context) const {
    EXPECT_EQ(dsv3_context_destroy(context), DSV3_OK);
  }
};
using Context = std::unique_ptr<dsv3_context, DestroyContext>;

inline Context create(const std::string& folder, const Setup& setup) {
  dsv3_device device{};
  device.struct_size = sizeof(device);
  device.kind = setup.kind;
  device.ordinal = setup.ordinal;
  device.bytes_max = setup.bytes_max;
  dsv3_context_options options;
  EXPECT_EQ(dsv3_context_options_init(&options, sizeof(options)), DSV3_OK);
  options.model_path = folder.data();
  options.model_path_bytes = folder.size();
  options.devices = &device;
  options.device_count = 1;
  options.activation_quant = setup.activation_quant;
  options.cache_dtype = setup.cache_dtype;
  options.gpu_priority = setup.gpu_priority;
  options.step_tokens_max = setup.step_tokens_max;
  options.cache_tokens = setup.cache_tokens;
  options.sequences_max = setup.sequences_max;
  options.out_of_pages = setup.out_of_pages;
  dsv3_context* context = nullptr;
  EXPECT_EQ(dsv3_context_create(&options, &context), DSV3_OK) << message_of(context);
  return Context(context);
}

inline Context open(const std::string& folder, const Setup& setup = {}) {
  Context context = create(folder, setup);
  EXPECT_EQ(dsv3_context_load(context.get(), 0, nullptr), DSV3_OK) << message_of(context.get());
  return context;
}

inline dsv3_info info_of(dsv3_context* context) {
  dsv3_info info{};
  info.struct_size = sizeof(info);
  EXPECT_EQ(dsv3_context_info(context, &info), DSV3_OK);
  return info;
}

inline dsv3_stats stats_of(dsv3_context* context) {
  dsv3_stats stats{};
  stats.struct_size = sizeof(stats);
  EXPECT_EQ(dsv3_context_stats(context, &stats), DSV3_OK);
  return stats;
}

inline std::vector<int32_t> tokenize(dsv3_context* context, const std::string& text) {
  std::vector<int32_t> tokens(text.size() + 8);
  uint64_t count = 0;
  EXPECT_EQ(
      dsv3_tokenize(context, text.data(), text.size(), 0, tokens.data(), tokens.size(), &count),
      DSV3_OK)
      << message_of(context);
  tokens.resize(count);
  return tokens;
}

inline dsv3_sequence start(dsv3_context* context, const std::vector<int32_t>& tokens) {
  dsv3_sequence sequence = 0;
  EXPECT_EQ(dsv3_sequence_create(context, nullptr, &sequence), DSV3_OK) << message_of(context);
  if (!tokens.empty()) {
    EXPECT_EQ(dsv3_sequence_append_tokens(context, sequence, tokens.data(), tokens.size()), DSV3_OK)
        << message_of(context, sequence);
  }
  return sequence;
}

inline std::vector<float> logits_of(dsv3_context* context, dsv3_sequence sequence) {
  std::vector<float> logits(info_of(context).vocab_size);
  EXPECT_EQ(dsv3_sequence_logits(context, sequence, logits.data(), logits.size()), DSV3_OK)
      << message_of(context, sequence);
  return logits;
}

struct Drawn {
  int32_t token = -1;
  std::vector<int32_t> top_tokens;
  std::vector<float> top_logprobs;
};

struct Generated {
  std::vector<Drawn> tokens;
  int32_t finish = DSV3_FINISH_NONE;
  int32_t ends = 0;
};

inline int32_t collect(void* user_data, const dsv3_event* event) {
  auto* out = static_cast<Generated*>(user_data);
  if (event->kind == DSV3_EVENT_TOKEN) {
    out->tokens.push_back({event->token,
                           {event->top_tokens, event->top_tokens + event->top_count},
                           {event->top_logprobs, event->top_logprobs + event->top_count}});
  } else if (event->kind == DSV3_EVENT_END) {
    out->finish = event->finish;
    ++out->ends;
  }
  return 0;
}

inline dsv3_generate_options options_of(uint64_t max_tokens, Generated* out) {
  dsv3_generate_options options;
  EXPECT_EQ(dsv3_generate_options_init(&options, sizeof(options)), DSV3_OK);
  options.events = DSV3_EVENTS_TOKEN;
  options.max_tokens = max_tokens;
  options.ignore_eos = 1;
  options.temperature = 0.0f;
  options.callback = collect;
  options.user_data = out;
  return options;
}

inline std::vector<int32_t> ids_of(const Generated& generated) {
  std::vector<int32_t> ids;
  for (const Drawn& drawn : generated.tokens) ids.push_back(drawn.token);
  return ids;
}

}  // namespace dsv3::gpu_test
