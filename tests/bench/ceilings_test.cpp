// Do the loops that find the ceilings read and multiply what they say? Every level this machine
// has, on small memory; results and counts, not rates.
#include "ceilings.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

namespace dsv3::bench {
namespace {

class CeilingsTest : public ::testing::TestWithParam<CpuLevel> {
 protected:
  void SetUp() override {
    if (GetParam() > cpu_level_best()) GTEST_SKIP() << "not on this processor";
  }
};

TEST_P(CeilingsTest, EveryByteCounts) {
  const CeilingLoops loops = ceiling_loops(GetParam());
  constexpr uint64_t kBytes = 4 * kReadGrain;
  const ReadBuffer buffer(kBytes + 64);
  for (const ReadLoop read : loops.read) {
    if (read == nullptr) continue;
    std::vector<std::byte> copy(kBytes + 64);
    void* place = copy.data();
    size_t room = copy.size();
    auto* const data = static_cast<std::byte*>(std::align(64, kBytes, place, room));
    const uint64_t empty = read(data, kBytes);
    for (const uint64_t at : {uint64_t{0}, kBytes / 2 + 4321, kBytes - 1}) {
      data[at] = std::byte{1};
      EXPECT_NE(read(data, kBytes), empty) << at;
      data[at] = std::byte{0};
    }
  }
}

// All factors are 1: a lane's sum counts the steps, and the operations are those of every lane and
// sum of the tile.
TEST_P(CeilingsTest, ProductsAreComputedAndCounted) {
  const CeilingLoops loops = ceiling_loops(GetParam());
  const std::vector<float> ones(kTileOperandBytes / sizeof(float), 1.0f);
  const auto* const operands = reinterpret_cast<const std::byte*>(ones.data());
  std::vector<float> sink(1024);
  constexpr double kOperationsOfStep[] = {2.0 * 4 * 2, 16.0 * 6 * 2, 32.0 * 6 * 4};
  for (const uint32_t rounds : {1u, 3u}) {
    const double operations =
        loops.f32(operands, rounds, reinterpret_cast<std::byte*>(sink.data()));
    EXPECT_GE(sink[0], 32.0f * static_cast<float>(rounds));
    EXPECT_EQ(operations, sink[0] * kOperationsOfStep[static_cast<size_t>(GetParam())]);
  }
}

TEST_P(CeilingsTest, AMeterMeasuresAllFour) {
  const auto buffer = std::make_shared<const ReadBuffer>(4u << 20);
  CeilingMeter meter({.threads = 2, .level = GetParam(), .tile_seconds = 1e-4}, buffer);
  const Ceilings once = meter.measure(1);
  EXPECT_GT(once.read_bytes, 0.0);
  EXPECT_GT(once.bf16_ops, 0.0);
  EXPECT_GT(once.f32_ops, 0.0);
  EXPECT_GT(once.int8_ops, 0.0);
  EXPECT_NE(meter.how(), "");
  Ceilings best = once;
  best.raise({.read_bytes = once.read_bytes * 2, .f32_ops = once.f32_ops / 2});
  EXPECT_EQ(best.read_bytes, once.read_bytes * 2);
  EXPECT_EQ(best.f32_ops, once.f32_ops);
}

INSTANTIATE_TEST_SUITE_P(Levels, CeilingsTest,
                         ::testing::Values(CpuLevel::kScalar, CpuLevel::kAvx2,
                                           CpuLevel::kAvx512Bf16));

}  // namespace
}  // namespace dsv3::bench
