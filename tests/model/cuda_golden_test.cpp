// The whole network on the emulated GPU: logits as near to the published implementation's as the
// CPU's must be, and the same tokens however its passes are driven: recorded or not, one ahead or
// not, whole or in slices.
#include <gtest/gtest.h>

#include "cuda/cuda_machine.h"
#include "emulation/emulator.h"
#include "model/golden_compare.h"
#include "model/model_fixture.h"
#include "model/side_by_side.h"

namespace dsv3::testing {
namespace {

MachineMaker cuda_machine() {
  return [](ThreadPool&, Allocator& allocator) {
    CudaMachine machine = make_cuda_machine({}, allocator);
    return TestMachine{std::move(machine.device), std::move(machine.ops)};
  };
}

class CudaGolden : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { emulator::reset(); }
  std::filesystem::path folder_ = golden_dir() / GetParam();
  reference::Golden golden_ = reference::read_golden(folder_);
};

// One pass a position would take minutes; the emulated GPU is strict, so nothing is lost.
constexpr uint32_t kEvery = 6;

TEST_P(CudaGolden, PromptTokens) {
  ModelFixture fixture(folder_, {.machine = cuda_machine()});
  expect_golden(golden_, fixture.all_logits(golden_.tokens, AttentionForm::kUnabsorbed, kEvery),
                kEvery);
}

TEST_P(CudaGolden, GeneratedTokens) {
  ModelFixture fixture(folder_, {.machine = cuda_machine()});
  expect_golden(golden_, fixture.all_logits(golden_.tokens, AttentionForm::kAbsorbed, kEvery),
                kEvery);
}

class CudaDrive : public CudaGolden {};

TEST_P(CudaDrive, DrawsTheSameTokens) {
  const auto generate = [&](const Drive& drive) {
    ModelFixture fixture(folder_, {.machine = cuda_machine()});
    return SideBySide(fixture, golden_.tokens, drive).generate(6);
  };
  const auto expected = generate({.in_slices = true});
  const uint64_t replays = emulator::counters().replays;
  EXPECT_EQ(generate({}), expected);
  EXPECT_EQ(emulator::counters().replays - replays, 5u) << "all but the prompts";
  EXPECT_EQ(generate({.ahead = true, .reorders = true, .slot_shift = 1, .page_seed = 3}), expected);
}

INSTANTIATE_TEST_SUITE_P(Models, CudaGolden, ::testing::ValuesIn(golden_names()),
                         [](const auto& param_info) { return param_info.param; });
// One of each dtype.
INSTANTIATE_TEST_SUITE_P(Models, CudaDrive,
                         ::testing::Values("groups_yarn", "bf16_shards", "fp8_cut_blocks"),
                         [](const auto& param_info) { return param_info.param; });

}  // namespace
}  // namespace dsv3::testing
