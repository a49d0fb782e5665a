// Does the network round where its profile says, and nowhere else? Activations quantised 1x128 and
// F8 latents, against the oracle with the same rounding points: position by position it comes out
// nearly the same, although each profile moves the logits of this model by a tenth and more.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "model/model_fixture.h"
#include "reference/reference_checkpoint.h"

namespace dsv3::testing {
namespace {

struct Case {
  AttentionForm form;
  ActivationQuant quant;
  bool f8_latents;
};

std::vector<Case> cases() {
  std::vector<Case> out;
  for (const AttentionForm form : {AttentionForm::kUnabsorbed, AttentionForm::kAbsorbed}) {
    out.push_back({form, ActivationQuant::k1x128, false});
    out.push_back({form, ActivationQuant::kNone, true});
    out.push_back({form, ActivationQuant::k1x128, true});
  }
  return out;
}

std::string case_name(const ::testing::TestParamInfo<Case>& info) {
  std::string name = info.param.form == AttentionForm::kAbsorbed ? "absorbed" : "unabsorbed";
  if (info.param.quant == ActivationQuant::k1x128) name += "_1x128";
  return info.param.f8_latents ? name + "_f8_latents" : name;
}

class RoundingPoints : public ::testing::TestWithParam<Case> {};

// Errors of positions, relative L2, smallest first.
std::vector<double> errors(const reference::Values& actual, const reference::Values& expected,
                           size_t vocab) {
  std::vector<double> out;
  for (size_t begin = 0; begin < expected.size(); begin += vocab) {
    out.push_back(reference::relative_l2(reference::View(actual).subspan(begin, vocab),
                                         reference::View(expected).subspan(begin, vocab)));
  }
  std::sort(out.begin(), out.end());
  return out;
}

double mean(const std::vector<double>& values) {
  double sum = 0.0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

// The library adds in FP32 and the oracle in double. Where that moves a value over the edge of two
// BF16 numbers and then of two codes, the position differs by about an eighth of an element here
// and there; most sums end on the same side, so that of four positions at least one comes out
// within the one rounding that the last row passes before the head. A scale, block or rounding of
// its own would move all positions as far as the profile itself does.
constexpr double kRoundingBF16 = 0x1p-8;

TEST_P(RoundingPoints, AreThoseOfTheOracle) {
  const Case& of = GetParam();
  const auto folder = golden_dir() / "fp8_cut_blocks";
  const reference::Golden golden = reference::read_golden(folder);
  reference::ReferenceModel oracle = reference::load_reference_model(folder);
  const size_t vocab = oracle.config().vocab_size;
  oracle.set_absorbed(of.form == AttentionForm::kAbsorbed);
  oracle.set_precision({.bf16 = true});
  const reference::Values plain = oracle.forward(golden.tokens);
  oracle.set_precision(
      {.bf16 = true, .quantise = of.quant == ActivationQuant::k1x128, .f8_latents = of.f8_latents});
  const reference::Values expected = oracle.forward(golden.tokens);

  const double effect = mean(errors(expected, plain, vocab));
  EXPECT_GT(effect, 0.02) << "the profile does too little here to be seen";

  // Where BF16 is multiplied, attention rounds what it multiplies.
  oracle.set_precision({.bf16 = true,
                        .quantise = of.quant == ActivationQuant::k1x128,
                        .f8_latents = of.f8_latents,
                        .bf16_operands = true});
  const reference::Values with_operands = oracle.forward(golden.tokens);

  for (int level = 0; level <= static_cast<int>(cpu_level_best()); ++level) {
    const MachineMaker machine = [&](ThreadPool& pool, Allocator& allocator) {
      return TestMachine{std::make_unique<CpuDevice>(allocator),
                         make_cpu_ops(pool, allocator, static_cast<CpuLevel>(level), of.quant)};
    };
    ModelFixture fixture(
        folder, {.machine = machine,
                 .cache_dtype = of.f8_latents ? std::optional(DType::kF8E4M3) : std::nullopt});
    const std::vector<float> logits = fixture.all_logits(golden.tokens, of.form);
    const std::vector<double> found =
        errors(reference::Values(logits.begin(), logits.end()),
               level == static_cast<int>(CpuLevel::kAvx512Bf16) ? with_operands : expected, vocab);
    const std::string what = str("effect ", effect, ", ", fixture.ops().description());
    EXPECT_LT(mean(found), effect / 4) << what;
    EXPECT_LT(found[found.size() / 4], kRoundingBF16) << what;
  }
}

INSTANTIATE_TEST_SUITE_P(Profiles, RoundingPoints, ::testing::ValuesIn(cases()), case_name);

}  // namespace
}  // namespace dsv3::testing
