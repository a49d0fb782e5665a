// The whole network against logits of the published implementation: F32 weights within 1e-3, BF16,
// F16 and FP8 weights no worse than the published implementation's own bfloat16 run.
#include <gtest/gtest.h>

#include <algorithm>

#include "model/golden_compare.h"
#include "model/model_fixture.h"
#include "reference/reference_checkpoint.h"

namespace dsv3::testing {
namespace {

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

class Golden : public ::testing::TestWithParam<Case> {};

TEST_P(Golden, LogitsOfEveryPosition) {
  const auto folder = golden_dir() / GetParam().name;
  const reference::Golden golden = reference::read_golden(folder);
  ModelFixture fixture(folder, {.machine = cpu_machine(GetParam().level)});
  const std::vector<float> logits = fixture.all_logits(golden.tokens, GetParam().form);
  expect_golden(golden, logits);
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
