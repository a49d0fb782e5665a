// A GPU context from create to destroy: what it says of itself, what it refuses, several at once,
// memory that stays flat, cancel.
#include <atomic>
#include <thread>

#include "gpu/gpu_fixture.h"

namespace dsv3::gpu_test {
namespace {

const std::string kTiny = DSV3_GOLDEN_DIR "/bf16_shards";
const std::string kTinyF8 = DSV3_GOLDEN_DIR "/fp8_cut_blocks";

std::vector<int32_t> prompt_of(uint32_t length, uint32_t vocab, uint32_t seed = 1) {
  std::vector<int32_t> tokens;
  for (uint32_t i = 0; i < length; ++i) {
    tokens.push_back(static_cast<int32_t>((i * 31 + seed * 17 + 3) % vocab));
  }
  return tokens;
}

std::vector<int32_t> generate(dsv3_context* context, uint32_t prompt_length, uint32_t length,
                              uint32_t seed = 1) {
  Generated out;
  const dsv3_generate_options options = options_of(length, &out);
  const dsv3_sequence sequence =
      start(context, prompt_of(prompt_length, info_of(context).vocab_size, seed));
  EXPECT_EQ(dsv3_generate(context, sequence, &options, nullptr), DSV3_OK)
      << message_of(context, sequence);
  EXPECT_EQ(out.ends, 1);
  EXPECT_EQ(dsv3_sequence_destroy(context, sequence), DSV3_OK);
  return ids_of(out);
}

TEST(GpuLife, SaysWhatItIs) {
  const Context context = open(kTiny);
  const dsv3_info info = info_of(context.get());
  EXPECT_EQ(std::string(info.device).rfind("cuda 0: ", 0), 0u) << info.device;
  EXPECT_EQ(info.threads, 0u);
  const std::string build = dsv3_build_info();
  EXPECT_NE(build.find("cuda"), std::string::npos) << build;
}

TEST(GpuLife, RefusesWhatIsNotThere) {
  Context context = create(kTiny, {.ordinal = 99});
  EXPECT_EQ(dsv3_context_load(context.get(), 0, nullptr), DSV3_UNSUPPORTED);
  EXPECT_NE(message_of(context.get()).find("99"), std::string::npos) << message_of(context.get());
  // The context is as good as new.
  EXPECT_EQ(dsv3_context_load(context.get(), 0, nullptr), DSV3_UNSUPPORTED);
}

TEST(GpuLife, PlanIsWhatALoadTakes) {
  const Context context = create(kTiny, {});
  dsv3_plan plan{};
  plan.struct_size = sizeof(plan);
  ASSERT_EQ(dsv3_context_plan(context.get(), &plan), DSV3_OK) << message_of(context.get());
  EXPECT_EQ(plan.weights_mapped_bytes, 0u);
  EXPECT_GT(plan.weights_copied_bytes, 0u);
  ASSERT_EQ(dsv3_context_load(context.get(), 0, nullptr), DSV3_OK) << message_of(context.get());
  EXPECT_EQ(stats_of(context.get()).memory_bytes, plan.total_bytes);
}

TEST(GpuLife, KeepsItsCeiling) {
  Context context = create(kTiny, {});
  dsv3_plan plan{};
  plan.struct_size = sizeof(plan);
  ASSERT_EQ(dsv3_context_plan(context.get(), &plan), DSV3_OK);
  context = create(kTiny, {.bytes_max = plan.total_bytes - 1});
  EXPECT_EQ(dsv3_context_load(context.get(), 0, nullptr), DSV3_LIMIT);
  EXPECT_NE(message_of(context.get()).find(std::to_string(plan.total_bytes - 1)), std::string::npos)
      << message_of(context.get());
  context = create(kTiny, {.bytes_max = plan.total_bytes});
  EXPECT_EQ(dsv3_context_load(context.get(), 0, nullptr), DSV3_OK) << message_of(context.get());
}

TEST(GpuLife, AModelTooLargeForTheMemoryIsRefusedAndNothingStays) {
  const Context context = create(kTiny, {.cache_tokens = 1ull << 34});
  const dsv3_status status = dsv3_context_load(context.get(), 0, nullptr);
  EXPECT_TRUE(status == DSV3_OUT_OF_MEMORY || status == DSV3_LIMIT) << status;
  EXPECT_EQ(stats_of(context.get()).memory_bytes, 0u);
  EXPECT_EQ(generate(open(kTiny).get(), 9, 4).size(), 4u);
}

TEST(GpuLife, ContextsOnOneGpuAndOnTheCpuRunAtTheSameTime) {
  const Context gpu_a = open(kTiny, {.gpu_priority = 1});
  const Context gpu_b = open(kTinyF8);
  const Context cpu = open(kTiny, {.kind = DSV3_DEVICE_CPU});
  const std::vector<int32_t> alone_a = generate(gpu_a.get(), 20, 12);
  const std::vector<int32_t> alone_b = generate(gpu_b.get(), 20, 12);
  const std::vector<int32_t> alone_c = generate(cpu.get(), 20, 12);
  std::vector<int32_t> together[3];
  std::thread a([&] { together[0] = generate(gpu_a.get(), 20, 12); });
  std::thread b([&] { together[1] = generate(gpu_b.get(), 20, 12); });
  std::thread c([&] { together[2] = generate(cpu.get(), 20, 12); });
  a.join();
  b.join();
  c.join();
  EXPECT_EQ(together[0], alone_a);
  EXPECT_EQ(together[1], alone_b);
  EXPECT_EQ(together[2], alone_c);
}

TEST(GpuLife, MemoryIsFlatOverManyRequests) {
  const Context context = open(kTiny);
  generate(context.get(), 9, 3);
  const uint64_t held = stats_of(context.get()).memory_bytes;
  const uint32_t requests = kIsSanitized ? 5 : is_emulated() ? 30 : 10'000;
  for (uint32_t i = 0; i < requests; ++i) {
    ASSERT_EQ(generate(context.get(), 3 + i % 70, 1 + i % 4, i).size(), 1 + i % 4);
  }
  const dsv3_stats stats = stats_of(context.get());
  EXPECT_EQ(stats.memory_bytes, held);
  EXPECT_EQ(stats.memory_bytes_peak, held);
  EXPECT_EQ(stats.pages_free, stats.pages_total);
}

struct CancelAt {
  dsv3_context* context = nullptr;
  uint64_t tokens_left = 0;
  int32_t finish = DSV3_FINISH_NONE;
  uint64_t position = 0;
};

int32_t cancel_on_event(void* user_data, const dsv3_event* event) {
  auto* cancel = static_cast<CancelAt*>(user_data);
  if (event->kind == DSV3_EVENT_END) {
    cancel->finish = event->finish;
    cancel->position = event->position;
    return 0;
  }
  if (cancel->tokens_left != 0 && --cancel->tokens_left == 0) {
    dsv3_sequence_cancel(cancel->context, event->sequence);
  }
  return 0;
}

TEST(GpuLife, CancelLeavesASequenceThatGoesOn) {
  const Context context = open(kTiny);
  const uint32_t vocab = info_of(context.get()).vocab_size;
  const std::vector<int32_t> prompt = prompt_of(70, vocab);
  const std::vector<int32_t> whole = generate(context.get(), 70, 10);
  for (uint64_t at = 1; at <= 5; ++at) {
    CancelAt cancel{.context = context.get(), .tokens_left = at};
    dsv3_generate_options options = options_of(40, nullptr);
    options.callback = cancel_on_event;
    options.user_data = &cancel;
    const dsv3_sequence sequence = start(context.get(), prompt);
    ASSERT_EQ(dsv3_generate(context.get(), sequence, &options, nullptr), DSV3_OK);
    EXPECT_EQ(cancel.finish, DSV3_FINISH_CANCELLED);
    uint64_t position = 0;
    ASSERT_EQ(dsv3_sequence_position(context.get(), sequence, &position), DSV3_OK);
    EXPECT_EQ(position, cancel.position);
    ASSERT_LT(position - prompt.size(), 9u);
    Generated rest;
    options = options_of(1, &rest);
    ASSERT_EQ(dsv3_generate(context.get(), sequence, &options, nullptr), DSV3_OK);
    ASSERT_EQ(rest.tokens.size(), 1u);
    EXPECT_EQ(rest.tokens[0].token, whole[position - prompt.size()]) << "cancelled after " << at;
    ASSERT_EQ(dsv3_sequence_destroy(context.get(), sequence), DSV3_OK);
  }
}

// A step under a budget runs the pass in slices; the tokens are the same.
TEST(GpuLife, BudgetsDoNotChangeTokens) {
  const Context context = open(kTiny);
  const std::vector<int32_t> whole = generate(context.get(), 40, 10);
  Generated out;
  const dsv3_generate_options options = options_of(10, &out);
  const dsv3_sequence sequence =
      start(context.get(), prompt_of(40, info_of(context.get()).vocab_size));
  ASSERT_EQ(dsv3_sequence_generate(context.get(), sequence, &options), DSV3_OK);
  for (int i = 0; i < 100'000 && out.ends == 0; ++i) {
    ASSERT_EQ(dsv3_step(context.get(), i % 3 == 0 ? 0 : 1, nullptr), DSV3_OK);
  }
  EXPECT_EQ(ids_of(out), whole);
}

TEST(GpuLife, QuantisedActivationsAndPagesGiveText) {
  const Context quantised = open(kTinyF8, {.activation_quant = DSV3_ACTIVATION_QUANT_1X128});
  EXPECT_EQ(generate(quantised.get(), 20, 6).size(), 6u);
  const Context small_pages = open(kTinyF8, {.cache_dtype = DSV3_DTYPE_F8_E4M3});
  EXPECT_EQ(info_of(small_pages.get()).cache_dtype, DSV3_DTYPE_F8_E4M3);
  EXPECT_EQ(generate(small_pages.get(), 70, 6).size(), 6u);
}

}  // namespace
}  // namespace dsv3::gpu_test
