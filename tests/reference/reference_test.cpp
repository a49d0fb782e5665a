// Is the oracle itself right? Against the specification's check values, against itself in its two
// forms of attention, and against logits of the published implementation (tests/golden).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <random>
#include <system_error>

#include "base/dtype.h"
#include "reference/reference_checkpoint.h"
#include "reference/reference_model.h"
#include "reference/reference_ops.h"
#include "reference/reference_quant.h"
#include "reference/reference_sampling.h"

#ifndef DSV3_GOLDEN_DIR
#  define DSV3_GOLDEN_DIR "tests/golden"
#endif

namespace dsv3::reference {
namespace {

Values random_values(std::mt19937& random, size_t count, double deviation = 1.0) {
  std::normal_distribution<double> normal(0.0, deviation);
  Values values(count);
  for (double& value : values) value = normal(random);
  return values;
}

RopeParams yarn(double theta, double factor, double beta_fast, double beta_slow) {
  RopeParams params;
  params.theta = theta;
  params.yarn = true;
  params.factor = factor;
  params.beta_fast = beta_fast;
  params.beta_slow = beta_slow;
  params.mscale_all_dim = 1.0;
  return params;
}

void expect_entries(const std::vector<float>& table,
                    const std::vector<std::pair<size_t, double>>& entries) {
  for (const auto& [index, value] : entries) {
    EXPECT_NEAR(static_cast<double>(table.at(index)) / value, 1.0, 2e-7) << "entry " << index;
  }
}

TEST(YarnTable, DeepseekV3) {
  const RopeParams params = yarn(10000.0, 40.0, 32.0, 1.0);
  const YarnRange range = yarn_range(params);
  EXPECT_NEAR(range.corr_fast, 10.472241, 1e-6);
  EXPECT_NEAR(range.corr_slow, 22.513441, 1e-6);
  EXPECT_EQ(range.low, 10.0);
  EXPECT_EQ(range.high, 23.0);
  EXPECT_NEAR(softmax_scale(192, params), 0.13523378, 1e-8);
  EXPECT_EQ(rope_magnitude(params), 1.0);
  expect_entries(rope_inv_freq(params), {{0, 1.0},
                                         {1, 0.749894209},
                                         {9, 0.0749894209},
                                         {10, 0.0562341325},
                                         {11, 0.0390069266},
                                         {15, 0.00833450895},
                                         {16, 0.0055},
                                         {20, 0.000790569415},
                                         {22, 0.000177827941},
                                         {23, 3.33380358e-05},
                                         {31, 3.33380358e-06}});
}

TEST(YarnTable, KimiK2InstructIsAStep) {
  const RopeParams params = yarn(50000.0, 32.0, 1.0, 1.0);
  const YarnRange range = yarn_range(params);
  EXPECT_NEAR(range.corr_fast, 19.164575, 1e-6);
  EXPECT_EQ(range.low, 19.0);
  EXPECT_EQ(range.high, 20.0);
  EXPECT_NEAR(softmax_scale(192, params), 0.13086080, 1e-8);
  expect_entries(
      rope_inv_freq(params),
      {{18, 0.00227420376}, {19, 0.00162175991}, {20, 3.61404677e-05}, {31, 8.76441291e-07}});
}

TEST(YarnTable, KimiK25AndMoonlight) {
  const RopeParams k25 = yarn(50000.0, 64.0, 32.0, 1.0);
  EXPECT_NEAR(yarn_range(k25).corr_fast, 8.914499, 1e-6);
  EXPECT_EQ(yarn_range(k25).low, 8.0);
  EXPECT_EQ(yarn_range(k25).high, 20.0);
  EXPECT_NEAR(yarn_magnitude(64.0, 1.0), 1.4158883, 1e-7);
  EXPECT_NEAR(softmax_scale(192, k25), 0.14467963, 1e-8);
  EXPECT_NEAR(softmax_scale(192, RopeParams{}), 0.07216878, 1e-8);
}

TEST(YarnTable, EqualEndsOfTheRampDoNotDivideByZero) {
  RopeParams params = yarn(10000.0, 40.0, 1.0, 1.0);
  params.original_max_position = 5.0;
  ASSERT_EQ(yarn_range(params).low, yarn_range(params).high);
  expect_entries(rope_inv_freq(params), {{0, 1.0}, {1, 0.749894209 / 40.0}});
}

TEST(Fp8, EveryByteAsTheFormulaAndTheLibrarySay) {
  std::vector<uint8_t> bytes(256);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i);
  const std::vector<float> scales = {1.0f, 1.0f};
  Fp8Weight weight;
  weight.bytes = bytes;
  weight.scales = scales;
  weight.rows = 1;
  weight.columns = 256;
  const Values values = dequantize_fp8(weight);
  EXPECT_EQ(values[0x7e], 448.0);
  EXPECT_EQ(values[0x08], std::ldexp(1.0, -6));
  EXPECT_EQ(values[0x01], std::ldexp(1.0, -9));
  EXPECT_EQ(values[0xb8], -1.0);
  EXPECT_TRUE(std::signbit(values[0x80]));
  for (size_t i = 0; i < bytes.size(); ++i) {
    const double wanted = static_cast<double>(e4m3_table()[i]);
    EXPECT_EQ(std::isnan(values[i]), i == 0x7f || i == 0xff);
    if (std::isnan(values[i])) continue;
    EXPECT_EQ(values[i], wanted) << "byte " << i;
  }
}

TEST(Fp8, BlocksCutByBothEdges) {
  const std::vector<uint8_t> bytes(576 * 130, 0x38);  // 1.0 everywhere
  std::vector<float> scales(5 * 2);
  for (size_t i = 0; i < scales.size(); ++i) scales[i] = static_cast<float>(i + 1);
  Fp8Weight weight;
  weight.bytes = bytes;
  weight.scales = scales;
  weight.rows = 576;
  weight.columns = 130;
  const Values values = dequantize_fp8(weight);
  EXPECT_EQ(values[127 * 130 + 127], 1.0);
  EXPECT_EQ(values[127 * 130 + 128], 2.0);
  EXPECT_EQ(values[128 * 130], 3.0);
  EXPECT_EQ(values[575 * 130 + 129], 10.0);
}

TEST(Fp8, NearestCode) {
  for (int byte = 0; byte < 256; ++byte) {
    if ((byte & 0x7f) == 0x7f) continue;
    const auto code = static_cast<uint8_t>(byte);
    EXPECT_EQ(nearest_e4m3(static_cast<float>(e4m3_value(code))), code);
  }
  EXPECT_EQ(nearest_e4m3(1.0625f), 0x38);  // half-way to 1.125: the even mantissa
  EXPECT_EQ(nearest_e4m3(1.1875f), 0x3a);
  EXPECT_EQ(nearest_e4m3(std::nextafterf(1.0625f, 2.0f)), 0x39);
  EXPECT_EQ(nearest_e4m3(0x1p-10f), 0x00);
  EXPECT_EQ(nearest_e4m3(-0x1.8p-9f), 0x82);
  EXPECT_EQ(nearest_e4m3(464.0f), 0x7e);
  EXPECT_EQ(nearest_e4m3(-1e30f), 0xfe);
  EXPECT_EQ(nearest_e4m3(std::nanf("")), 0x7f);
}

TEST(Fp8, ScalesOfActivationsAndLatents) {
  Values x(300, 0.0);
  x[5] = -3.0;    // block 0
  x[128] = 1e-6;  // block 1: below the floor
  x[299] = 448.0;
  const QuantBlocks activations = quantise_activations(x, 300);
  ASSERT_EQ(activations.scales.size(), 3u);
  EXPECT_EQ(activations.scales[0], 3.0f / 448.0f);
  EXPECT_EQ(activations.scales[1], 1e-4f / 448.0f);
  EXPECT_EQ(activations.scales[2], 1.0f);
  EXPECT_EQ(activations.codes[5], 0xfe);
  EXPECT_EQ(activations.codes[128], nearest_e4m3(1e-6f / (1e-4f / 448.0f)));
  EXPECT_EQ(activations.codes[0], 0x00);
  const QuantBlocks latents = quantise_latents(x, 300);
  EXPECT_EQ(latents.scales[0], 0x1p-7f);   // 3/448 lies between 2^-8 and 2^-7
  EXPECT_EQ(latents.scales[1], 0x1p-22f);  // 2.23e-7 between 2^-23 and 2^-22
  EXPECT_EQ(latents.scales[2], 1.0f);      // a power of two stays
  EXPECT_EQ(latents.codes[5], nearest_e4m3(-3.0f * 128.0f));
  EXPECT_EQ(latents.values()[5], -384.0 / 128.0);
}

TEST(Rope, BothLayoutsGiveTheSameScores) {
  std::mt19937 random(7);
  const std::vector<int32_t> at = {5};
  const std::vector<float> inv_freq = rope_inv_freq(yarn(10000.0, 40.0, 32.0, 1.0));
  const Values a = random_values(random, 64);
  const Values b = random_values(random, 64);
  Values split_a(64);
  Values split_b(64);
  for (size_t i = 0; i < 64; ++i) {
    split_a[i / 2 + (i % 2) * 32] = a[i];
    split_b[i / 2 + (i % 2) * 32] = b[i];
  }
  const Values pair_a = rope(a, at, inv_freq);
  const Values half_a = rope_half_split(split_a, at, inv_freq);
  double pairs = 0.0;
  double halves = 0.0;
  for (size_t i = 0; i < 64; ++i) {
    pairs += pair_a[i] * b[i];
    halves += half_a[i] * split_b[i];
  }
  EXPECT_NEAR(pairs, halves, 1e-12);
  EXPECT_NEAR(pair_a[0], a[0] * std::cos(5.0) - a[1] * std::sin(5.0), 1e-12);
}

TEST(Attention, NaiveEqualsAbsorbed) {
  std::mt19937 random(11);
  AttendArgs args;
  args.heads = 3;
  args.nope = 10;
  args.rope = 6;
  args.v = 7;
  args.latent = 20;
  args.first_position = 4;
  args.scale = 0.3;
  const Values query = random_values(random, 5 * args.heads * (args.nope + args.rope));
  const Values cache = random_values(random, 9 * (args.latent + args.rope));
  const Values kv_b = random_values(random, args.heads * (args.nope + args.v) * args.latent);
  args.query = query;
  args.cache = cache;
  args.kv_b = kv_b;
  EXPECT_LT(relative_l2(attend_absorbed(args), attend_naive(args)), 1e-13);
}

RouterParams router(size_t experts, size_t top_k, size_t groups, size_t topk_groups) {
  RouterParams params;
  params.experts = experts;
  params.top_k = top_k;
  params.groups = groups;
  params.topk_groups = topk_groups;
  return params;
}

TEST(Router, BiasSelectsButDoesNotWeigh) {
  const Values logits = {0.0, 1.0, 2.0, 3.0};
  const Values bias = {9.0, 0.0, 0.0, 0.0};
  const Routing routing = route(logits, bias, router(4, 2, 1, 1));
  EXPECT_EQ(routing.experts, (std::vector<int32_t>{0, 3}));
  const double sigmoid3 = 1.0 / (1.0 + std::exp(-3.0));
  EXPECT_NEAR(routing.weights[0], 0.5 / (0.5 + sigmoid3), 1e-12);
}

TEST(Router, MaskedGroupsNeverBeatNegativeScores) {
  const Values logits(6, 0.0);
  const Values bias = {-9.0, -9.0, -3.0, -4.0, -8.0, -8.0};
  const Routing routing = route(logits, bias, router(6, 2, 3, 1));
  EXPECT_EQ(routing.experts, (std::vector<int32_t>{2, 3}));
}

TEST(Router, GroupsRankByTheirTwoBest) {
  const Values logits(6, 0.0);
  const Values bias = {0.9, 0.0, 0.0,
                       0.5, 0.5, 0.0};  // the best single expert is in the worse group
  const Routing routing = route(logits, bias, router(6, 2, 2, 1));
  EXPECT_EQ(routing.experts, (std::vector<int32_t>{3, 4}));
  EXPECT_NEAR(routing.margin, 0.1, 1e-12);
}

TEST(Router, TiesGoToTheLowerIndexAndNanLoses) {
  const double nan = std::nan("");
  const Values bias(4, 0.0);
  const Routing tie = route(Values(4, 1.0), bias, router(4, 2, 2, 1));
  EXPECT_EQ(tie.experts, (std::vector<int32_t>{0, 1}));
  EXPECT_EQ(tie.margin, 0.0);
  const Routing one_nan = route(Values{nan, -9.0, -8.0, -7.0}, bias, router(4, 3, 1, 1));
  EXPECT_EQ(one_nan.experts, (std::vector<int32_t>{3, 2, 1}));
  EXPECT_TRUE(one_nan.has_nan);
  const Routing all_nan = route(Values(4, nan), bias, router(4, 2, 2, 1));
  EXPECT_EQ(all_nan.experts, (std::vector<int32_t>{0, 1}));
  EXPECT_EQ(all_nan.weights, (Values{0.0, 0.0}));
}

TEST(Sampling, StagesByHand) {
  const Values logits = {2.0, 1.0, 0.0, -1.0};
  const std::vector<int32_t> prompt = {3};
  const std::vector<int32_t> generated = {0, 0};
  SamplingParams params;
  params.repetition_penalty = 2.0;
  params.presence_penalty = 0.25;
  params.frequency_penalty = 0.5;
  params.logit_bias = {{1, -3.0}};
  EXPECT_EQ(penalized_logits(logits, params, prompt, generated), (Values{-0.25, -2.0, 0.0, -2.0}));
  params = SamplingParams{};
  params.top_k = 2;
  const Values top2 = sampling_probabilities(logits, params, {}, {});
  EXPECT_NEAR(top2[0], 1.0 / (1.0 + std::exp(-1.0)), 1e-12);
  EXPECT_EQ(top2[2], 0.0);
  params.top_p = 0.7;  // of the two left, the first alone has 0.731
  EXPECT_EQ(sampling_probabilities(logits, params, {}, {})[0], 1.0);
  params = SamplingParams{};
  params.min_p = std::exp(-1.5);
  EXPECT_GT(sampling_probabilities(logits, params, {}, {})[1], 0.0);
  EXPECT_EQ(sampling_probabilities(logits, params, {}, {})[2], 0.0);
  params.temperature = 0.0;
  EXPECT_EQ(sampling_probabilities(Values{1.0, 3.0, 3.0}, params, {}, {}), (Values{0.0, 1.0, 0.0}));
}

// ---- Against the published implementation ------------------------------------------------------

std::vector<std::string> golden_names() {
  std::vector<std::string> names;
  std::error_code missing;  // an absent folder leaves the suite empty, which is a failure
  for (const auto& entry : std::filesystem::directory_iterator(DSV3_GOLDEN_DIR, missing)) {
    if (!std::filesystem::exists(entry.path() / "golden.safetensors")) continue;
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

class PublishedLogits : public testing::TestWithParam<std::string> {};

// Weights are exact in double whatever their storage, so one bound holds for every dtype.
TEST_P(PublishedLogits, LogitsAndMarginsAgree) {
  const std::filesystem::path folder = std::filesystem::path(DSV3_GOLDEN_DIR) / GetParam();
  const Golden golden = read_golden(folder);
  ReferenceModel model = load_reference_model(folder);
  const size_t vocab = model.config().vocab_size;
  const ReferenceRun run = model.run(golden.tokens);
  ASSERT_EQ(run.logits.size(), golden.logits.size());
  double worst = 0.0;
  for (size_t t = 0; t < golden.tokens.size(); ++t) {
    const View ours = View(run.logits).subspan(t * vocab, vocab);
    const View theirs = View(golden.logits).subspan(t * vocab, vocab);
    worst = std::max(worst, relative_l2(ours, theirs));
    EXPECT_EQ(argmax(ours), argmax(theirs)) << "position " << t;
    EXPECT_NEAR(run.router_margin[t], golden.router_margin[t], 1e-5) << "position " << t;
  }
  EXPECT_LT(worst, 1e-4);
  RecordProperty("worst_relative_l2", std::to_string(worst * 1e6) + "e-6");
}

TEST_P(PublishedLogits, AbsorbedFormGivesTheSameLogits) {
  const std::filesystem::path folder = std::filesystem::path(DSV3_GOLDEN_DIR) / GetParam();
  std::vector<int32_t> tokens = read_golden(folder).tokens;
  tokens.resize(12);
  ReferenceModel model = load_reference_model(folder);
  const Values naive = model.forward(tokens);
  model.set_absorbed(true);
  EXPECT_LT(relative_l2(model.forward(tokens), naive), 1e-11);
}

INSTANTIATE_TEST_SUITE_P(AllModels, PublishedLogits, testing::ValuesIn(golden_names()),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace dsv3::reference
