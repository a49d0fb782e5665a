// Is a token drawn from the distribution the oracle describes? Every draw against the oracle's own
// inverse CDF, chi-square over many draws, edges, masks, NaN, and the reported log-probabilities.
#include <cmath>
#include <limits>

#include "base/random.h"
#include "ops/ops_fixture.h"
#include "reference/reference_sampling.h"

namespace dsv3::ops_test {
namespace {

using SampleConformance = Conformance;
// Sampling knows no profile of linears.
std::vector<OpsParam> sampling_ops() {
  std::vector<OpsParam> params = all_ops();
  std::erase_if(params,
                [](const OpsParam& param) { return param.quant != ActivationQuant::kNone; });
  return params;
}
INSTANTIATE_TEST_SUITE_P(All, SampleConformance, ::testing::ValuesIn(sampling_ops()), ops_name);

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

SampleResult sample_one(Ops& ops, std::vector<float> logits, const SampleRow& row) {
  SampleResult result;
  const auto vocab = static_cast<uint32_t>(logits.size());
  ops.sample(
      {.logits = {logits.data(), DType::kF32, 1, vocab, vocab}, .rows = &row, .results = &result});
  return result;
}

std::vector<float> random_logits(Random& random, uint32_t vocab, double spread) {
  std::vector<float> logits;
  for (uint32_t i = 0; i < vocab; ++i) {
    logits.push_back(static_cast<float>(spread * random.normal()));
  }
  return logits;
}

// The row's fields as the oracle takes them. Tokens that may not be drawn get a bias of -inf.
Values oracle(const std::vector<float>& logits, const SampleRow& row) {
  reference::SamplingParams params;
  params.repetition_penalty = static_cast<double>(row.repetition_penalty);
  params.presence_penalty = static_cast<double>(row.presence_penalty);
  params.frequency_penalty = static_cast<double>(row.frequency_penalty);
  params.temperature = static_cast<double>(row.temperature);
  params.top_k = row.top_k;
  params.top_p = static_cast<double>(row.top_p);
  params.min_p = static_cast<double>(row.min_p);
  for (uint32_t i = 0; i < row.bias_count; ++i) {
    params.logit_bias.emplace_back(row.biases[i].token, row.biases[i].bias);
  }
  const double banned = -std::numeric_limits<double>::infinity();
  for (uint32_t i = 0; i < logits.size(); ++i) {
    const bool out = (row.vocab_limit != 0 && i >= row.vocab_limit) ||
                     (row.allowed != nullptr && (row.allowed[i / 32] >> (i % 32) & 1u) == 0);
    if (out) params.logit_bias.emplace_back(static_cast<int32_t>(i), banned);
  }
  const Values wide(logits.begin(), logits.end());
  const std::span<const int32_t> history(row.history, row.history_count);
  return reference::sampling_probabilities(wide, params, history.first(row.generated_begin),
                                           history.subspan(row.generated_begin));
}

struct Named {
  const char* name;
  SampleRow row;
};

// Draws `draws` tokens; each must be the oracle's own draw, and their counts must fit.
void expect_draws(Ops& ops, const std::vector<float>& logits, const Named& named, uint32_t draws) {
  const auto vocab = static_cast<uint32_t>(logits.size());
  const Values probabilities = oracle(logits, named.row);
  Values edges;
  double sum = 0.0;
  for (const double p : probabilities) edges.push_back(sum += p);
  constexpr uint32_t kBatch = 4;
  std::vector<float> batch;
  for (uint32_t i = 0; i < kBatch; ++i) batch.insert(batch.end(), logits.begin(), logits.end());
  std::vector<double> counts(vocab, 0.0);
  for (uint32_t first = 0; first < draws; first += kBatch) {
    SampleRow rows[kBatch];
    SampleResult results[kBatch];
    for (uint32_t i = 0; i < kBatch; ++i) {
      rows[i] = named.row;
      rows[i].position = first + i;
    }
    ops.sample({.logits = {batch.data(), DType::kF32, kBatch, vocab, vocab},
                .rows = rows,
                .results = results});
    for (uint32_t i = 0; i < kBatch; ++i) {
      ASSERT_GE(results[i].token, 0) << named.name;
      const auto token = static_cast<size_t>(results[i].token);
      counts[token] += 1.0;
      const double unit = random_unit(named.row.seed, first + i);
      const double below = token == 0 ? 0.0 : edges[token - 1];
      // FP32 penalties and divisions move an edge by less than a millionth.
      ASSERT_GT(probabilities[token], 0.0) << named.name << ": token " << token;
      ASSERT_TRUE(unit >= below - 1e-6 && unit <= edges[token] + 1e-6)
          << named.name << ": token " << token << " for " << unit;
    }
  }
  double chi = 0.0;
  double cells = 0.0;
  for (uint32_t t = 0; t < vocab; ++t) {
    const double expected = probabilities[t] * draws;
    if (expected < 5.0) continue;
    chi += (counts[t] - expected) * (counts[t] - expected) / expected;
    cells += 1.0;
  }
  // Mean `cells`, variance 2 * cells: five standard deviations and a little for few cells.
  EXPECT_LT(chi, cells + 5.0 * std::sqrt(2.0 * cells) + 10.0) << named.name;
}

TEST_P(SampleConformance, DrawsFollowTheOracle) {
  Random random(31);
  const std::vector<float> logits = random_logits(random, 70, 2.0);
  const std::vector<int32_t> history = {3, 9, 3, 60, 12, 3, 12, 69, 0};
  const std::vector<LogitBias> biases = {{5, 3.0f}, {7, -kInfinity}, {9, -1.5f}, {5, 0.5f}};
  const std::vector<uint32_t> allowed = {0xffff0ff1u, 0x0fffffffu, 0x3fu};
  SampleRow base;
  base.seed = 77;
  base.temperature = 0.8f;
  std::vector<Named> all;
  const auto add = [&](const char* name, const auto& change) {
    all.push_back({name, base});
    change(all.back().row);
  };
  add("temperature", [](SampleRow&) {});
  add("hot", [](SampleRow& r) { r.temperature = 3.0f; });
  add("cold", [](SampleRow& r) { r.temperature = 0.05f; });
  add("top_k", [](SampleRow& r) { r.top_k = 7; });
  add("top_k 1", [](SampleRow& r) { r.top_k = 1; });
  add("top_k beyond", [](SampleRow& r) { r.top_k = 1000; });
  add("top_p", [](SampleRow& r) { r.top_p = 0.7f; });
  add("top_p tiny", [](SampleRow& r) { r.top_p = 1e-6f; });
  add("min_p", [](SampleRow& r) { r.min_p = 0.1f; });
  add("all filters", [](SampleRow& r) {
    r.top_k = 30;
    r.top_p = 0.9f;
    r.min_p = 0.03f;
  });
  add("penalties", [&](SampleRow& r) {
    r.repetition_penalty = 1.3f;
    r.presence_penalty = 0.4f;
    r.frequency_penalty = 0.25f;
    r.history = history.data();
    r.history_count = 9;
    r.generated_begin = 3;
  });
  add("bias and mask", [&](SampleRow& r) {
    r.biases = biases.data();
    r.bias_count = 4;
    r.allowed = allowed.data();
    r.vocab_limit = 60;
    r.top_p = 0.95f;
  });
  // An emulated GPU draws some thousand times slower than a CPU.
  const uint32_t scale = GetParam().is_cuda ? 10 : 1;
  expect_draws(ops_, logits, all[0], 100000 / scale);
  for (const Named& named : all) expect_draws(ops_, logits, named, 4000 / scale);
}

TEST_P(SampleConformance, LargeVocabularyFlatAndPeaked) {
  Random random(32);
  for (const double spread : {0.01, 3.0}) {
    const std::vector<float> logits = random_logits(random, 129280, spread);
    SampleRow row;
    row.seed = 5;
    row.temperature = 1.0f;
    row.vocab_limit = 128815;
    for (const float top_p : {0.3f, 0.95f}) {
      row.top_p = top_p;
      expect_draws(ops_, logits, {"large", row}, 4);
    }
    row.top_k = 50;
    expect_draws(ops_, logits, {"large top_k", row}, 4);
  }
}

TEST_P(SampleConformance, GreedyTakesTheLowestOfTheLargest) {
  EXPECT_EQ(sample_one(ops_, {1, 5, 2, 5, 5}, {}).token, 1);
  EXPECT_EQ(sample_one(ops_, {-kInfinity, -3, kNan, kInfinity}, {}).token, 1);
  SampleRow limited;
  limited.vocab_limit = 2;
  EXPECT_EQ(sample_one(ops_, {1, 0, 9, 9}, limited).token, 0);
  const LogitBias ban{1, -kInfinity};
  SampleRow biased;
  biased.biases = &ban;
  biased.bias_count = 1;
  EXPECT_EQ(sample_one(ops_, {1, 5, 2}, biased).token, 2);
  // Equal logits under filters: the lower id stays.
  SampleRow hot;
  hot.temperature = 1.0f;
  hot.top_k = 1;
  for (uint32_t i = 0; i < 20; ++i) {
    hot.position = i;
    EXPECT_EQ(sample_one(ops_, {0, 7, 7, 7}, hot).token, 1);
  }
}

TEST_P(SampleConformance, NothingFiniteIsMinusOne) {
  SampleRow row;
  EXPECT_EQ(sample_one(ops_, {kNan, kNan, -kInfinity}, row).token, -1);
  row.temperature = 1.0f;
  row.top_p = 0.5f;
  EXPECT_EQ(sample_one(ops_, {kNan, kInfinity, -kInfinity}, row).token, -1);
  const uint32_t none[1] = {0};
  row.allowed = none;
  const SampleResult masked = sample_one(ops_, {1, 2, 3}, row);
  EXPECT_EQ(masked.token, -1);
}

TEST_P(SampleConformance, LogProbabilitiesAreOfTheRawLogits) {
  Random random(33);
  std::vector<float> logits = random_logits(random, 500, 4.0);
  logits[17] = logits[400] = 15.0f;  // a tie at the top
  logits[3] = kNan;
  Values wide(logits.begin(), logits.end());
  wide[3] = -std::numeric_limits<double>::infinity();
  const Values wanted = reference::log_softmax(wide);
  SampleRow row;
  row.temperature = 0.5f;
  row.top_logprobs = 20;
  row.top_k = 5;
  const LogitBias bias{17, -kInfinity};
  row.biases = &bias;
  row.bias_count = 1;
  const SampleResult result = sample_one(ops_, logits, row);
  ASSERT_GE(result.token, 0);
  EXPECT_NE(result.token, 17);
  EXPECT_NEAR(static_cast<double>(result.logprob), wanted[static_cast<size_t>(result.token)],
              1e-6 * 20);
  ASSERT_EQ(result.top_count, 20u);
  EXPECT_EQ(result.top_tokens[0], 17);
  EXPECT_EQ(result.top_tokens[1], 400);
  for (uint32_t i = 0; i < 20; ++i) {
    const auto token = static_cast<size_t>(result.top_tokens[i]);
    EXPECT_NEAR(static_cast<double>(result.top_logprobs[i]), wanted[token], 1e-6 * 20);
    uint32_t better = 0;
    for (const double value : wanted) better += value > wanted[token] ? 1 : 0;
    EXPECT_LE(better, i);
  }
  row.top_logprobs = 3;
  EXPECT_EQ(sample_one(ops_, {1, kNan, 3}, SampleRow{.top_logprobs = 3}).top_count, 2u);
}

TEST_P(SampleConformance, RefusesWhatIsOutsideTheVocabulary) {
  const std::vector<int32_t> history = {1, 4};
  SampleRow row;
  row.history = history.data();
  row.history_count = 2;
  expect_contents_refused([&] { sample_one(ops_, {1, 2, 3}, row); }, "sample", "history[1] is 4");
  const LogitBias bias{-1, 0.0f};
  SampleRow biased;
  biased.biases = &bias;
  biased.bias_count = 1;
  expect_contents_refused([&] { sample_one(ops_, {1, 2, 3}, biased); }, "sample", "token");
  expect_contents_refused(
      [&] {
        sample_one(ops_, {1, 2, 3}, SampleRow{.top_logprobs = 21});
      },
      "sample", "21");
  expect_refused([&] { sample_one(ops_, std::vector<float>(130001, 0.0f), {}); }, "sample",
                 "vocab");
}

}  // namespace
}  // namespace dsv3::ops_test
