// The whole network against logits of the published implementation: F32 weights within 1e-3, BF16,
// F16 and FP8 weights no worse than the published implementation's own bfloat16 run.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "model/model_fixture.h"
#include "reference/reference_checkpoint.h"

namespace dsv3::testing {
namespace {

// Below this gap between the last kept and the first dropped expert, BF16 rounding may choose
// another one: the position is reported, not compared. The published bfloat16 run itself changes
// experts at a gap of 9.4e-3 (bf16_shards, position 46).
constexpr double kRouterMargin = 1e-2;

struct Case {
  std::string name;
  CpuLevel level;
  AttentionForm form;
};

std::vector<Case> cases() {
  std::vector<Case> out;
  for (const std::string& name : golden_names()) {
    for (int level = 0; level <= static_cast<int>(cpu_level_best()); ++level) {
      out.push_back({name, static_cast<CpuLevel>(level), AttentionForm::kUnabsorbed});
      out.push_back({name, static_cast<CpuLevel>(level), AttentionForm::kAbsorbed});
    }
  }
  return out;
}

double row_error(const float* actual, const double* expected, size_t count) {
  double difference = 0.0;
  double norm = 0.0;
  for (size_t i = 0; i < count; ++i) {
    difference += (actual[i] - expected[i]) * (actual[i] - expected[i]);
    norm += expected[i] * expected[i];
  }
  return std::sqrt(difference / norm);
}

class Golden : public ::testing::TestWithParam<Case> {};

TEST_P(Golden, LogitsOfEveryPosition) {
  const auto folder = golden_dir() / GetParam().name;
  const reference::Golden golden = reference::read_golden(folder);
  ModelFixture fixture(folder, {.level = GetParam().level});
  const size_t vocab = fixture.model().config.vocab;
  const std::vector<float> logits = fixture.all_logits(golden.tokens, GetParam().form);
  const bool exact = golden.bf16_rel_l2.empty();  // F32 weights: no bfloat16 run to compare with
  ASSERT_EQ(logits.size(), golden.logits.size());

  std::string near_ties;  // position:error
  size_t compared = 0;
  double worst = 0.0;
  double sum = 0.0;
  double published_sum = 0.0;
  for (size_t t = 0; t < golden.tokens.size(); ++t) {
    const float* actual = logits.data() + t * vocab;
    const double* expected = golden.logits.data() + t * vocab;
    const double error = row_error(actual, expected, vocab);
    if (exact) {
      EXPECT_LE(error, 1e-3) << "position " << t << ", router margin " << golden.router_margin[t];
      EXPECT_EQ(std::max_element(actual, actual + vocab) - actual,
                std::max_element(expected, expected + vocab) - expected)
          << "position " << t;
    } else if (golden.router_margin[t] < kRouterMargin) {
      near_ties += " " + std::to_string(t) + ":" + std::to_string(error);
      continue;
    } else {
      sum += error;
      published_sum += golden.bf16_rel_l2[t];
    }
    worst = std::max(worst, error);
    ++compared;
  }
  RecordProperty("worst", std::to_string(worst));
  RecordProperty("near_ties", near_ties);
  if (!exact) {
    ASSERT_GT(compared, golden.tokens.size() / 2) << "too few positions with a router margin";
    const auto count = static_cast<double>(compared);
    EXPECT_LE(sum, published_sum) << "mean error " << sum / count << ", published bfloat16 "
                                  << published_sum / count
                                  << ", left out near a routing tie:" << near_ties;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Golden, ::testing::ValuesIn(cases()), [](const auto& param_info) {
  std::string level = cpu_level_name(param_info.param.level);
  std::replace_if(
      level.begin(), level.end(), [](char c) { return std::isalnum(c) == 0; }, '_');
  return param_info.param.name + "_" + level +
         (param_info.param.form == AttentionForm::kAbsorbed ? "_absorbed" : "_unabsorbed");
});

}  // namespace
}  // namespace dsv3::testing
