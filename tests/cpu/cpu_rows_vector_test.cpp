// Do the row loops of a level give what the scalar definitions give, for tails of every length?
// Bit by bit where no sum's order and no exponential is involved.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "base/dtype.h"
#include "base/random.h"
#include "cpu/cpu_kernels.h"

namespace dsv3 {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

class RowsVectorTest : public testing::TestWithParam<CpuLevel> {
 protected:
  static const CpuKernels& kernels() {
    if (GetParam() == CpuLevel::kAvx2) return *cpu_kernels_avx2();
    return *cpu_kernels_avx512();
  }
  static const CpuKernels& scalar() { return *cpu_kernels_scalar(); }

  std::vector<float> floats(uint32_t count) {
    std::vector<float> out(count);
    for (float& x : out) x = draw();
    return out;
  }
  std::vector<uint16_t> halves(uint32_t count) {
    std::vector<uint16_t> out(count);
    for (uint16_t& x : out) x = bf16_from_float(draw());
    return out;
  }

  // Uniform in [-2, 2).
  float draw() { return static_cast<float>(random_unit(77, drawn_++) * 4.0 - 2.0); }

 private:
  uint64_t drawn_ = 0;
};

std::vector<CpuLevel> vector_levels() {
  std::vector<CpuLevel> out;
  for (const CpuLevel level : {CpuLevel::kAvx2, CpuLevel::kAvx512Bf16}) {
    if (level <= cpu_level_best()) out.push_back(level);
  }
  return out;
}

INSTANTIATE_TEST_SUITE_P(Levels, RowsVectorTest, testing::ValuesIn(vector_levels()));
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(RowsVectorTest);

TEST_P(RowsVectorTest, SumsAndScaledRowsAreTheScalarOnes) {
  for (uint32_t count = 1; count <= 70; ++count) {
    const std::vector<uint16_t> h = halves(count);
    std::vector<uint16_t> residual = halves(count);
    std::vector<uint16_t> wanted_residual = residual;
    std::vector<float> sum(count);
    std::vector<float> wanted_sum(count);
    const float squares = kernels().add_bf16(h.data(), residual.data(), count, sum.data());
    const float wanted =
        scalar().add_bf16(h.data(), wanted_residual.data(), count, wanted_sum.data());
    EXPECT_EQ(residual, wanted_residual) << count;
    EXPECT_EQ(sum, wanted_sum) << count;
    EXPECT_NEAR(squares, wanted, 1e-5f * wanted) << count;
    EXPECT_EQ(kernels().widen_squares(residual.data(), count, sum.data()),
              kernels().add_bf16(nullptr, residual.data(), count, wanted_sum.data()));
    EXPECT_EQ(sum, wanted_sum) << count;
    const std::vector<float> weight = floats(count);
    std::vector<uint16_t> out(count);
    kernels().mul_scaled_bf16(sum.data(), weight.data(), 0.3f, count, out.data());
    scalar().mul_scaled_bf16(sum.data(), weight.data(), 0.3f, count, wanted_residual.data());
    EXPECT_EQ(out, wanted_residual) << count;
  }
}

TEST_P(RowsVectorTest, RotatedPairsAreTheScalarOnesAndNothingElseIsTouched) {
  for (uint32_t pairs = 1; pairs <= 35; ++pairs) {
    const std::vector<float> cosines = floats(pairs);
    const std::vector<float> sines = floats(pairs);
    std::vector<float> x = floats(2 * pairs + 1);
    std::vector<float> wanted = x;
    kernels().rotate(x.data(), pairs, cosines.data(), sines.data());
    scalar().rotate(wanted.data(), pairs, cosines.data(), sines.data());
    EXPECT_EQ(x, wanted) << pairs;
    const uint32_t stride = 2 * pairs + 3;
    std::vector<uint16_t> rows = halves(3 * stride);
    std::vector<uint16_t> wanted_rows = rows;
    const auto rotate = [&](const CpuKernels& of, std::vector<uint16_t>& all) {
      of.rotate_bf16({.x = all.data(),
                      .stride = stride,
                      .rows = 3,
                      .pairs = pairs,
                      .cosines = cosines.data(),
                      .sines = sines.data()});
    };
    rotate(kernels(), rows);
    rotate(scalar(), wanted_rows);
    EXPECT_EQ(rows, wanted_rows) << pairs;
  }
}

TEST_P(RowsVectorTest, CombinedRowsAreWeightedSumsWithTheSharedRow) {
  for (const uint32_t count : {1u, 7u, 8u, 15u, 16u, 17u, 64u, 65u, 200u}) {
    const std::vector<float> coef = floats(5);
    const std::vector<uint16_t> rows = halves(5 * (count + 2));
    const std::vector<uint16_t> shared = halves(count);
    for (const uint16_t* beside : {static_cast<const uint16_t*>(nullptr), shared.data()}) {
      std::vector<uint16_t> out(count);
      kernels().combine_bf16({.coef = coef.data(),
                              .row_count = 5,
                              .rows = rows.data(),
                              .stride = count + 2,
                              .shared = beside,
                              .count = count,
                              .out = out.data()});
      std::vector<float> wanted(count, 0.0f);
      kernels().weighted_sum[0](coef.data(), 5, rows.data(), count + 2, count, wanted.data());
      for (uint32_t i = 0; i < count; ++i) {
        const float sum = beside == nullptr ? wanted[i] : wanted[i] + bf16_to_float(shared[i]);
        EXPECT_EQ(out[i], bf16_from_float(sum)) << count << " " << i;
      }
    }
  }
}

TEST_P(RowsVectorTest, TheLargestAreTakenLowestIdFirstAmongEquals) {
  for (uint32_t size = 1; size <= 70; ++size) {
    std::vector<float> x(size);
    for (float& value : x) {
      const float drawn = draw();
      value = drawn < -1.0f ? -kInfinity : std::round(drawn * 2.0f);
    }
    std::vector<float> again = x;
    std::vector<int32_t> ids(size);
    std::vector<int32_t> wanted(size);
    kernels().largest(x.data(), size, size, ids.data());
    scalar().largest(again.data(), size, size, wanted.data());
    EXPECT_EQ(ids, wanted) << size;
  }
}

TEST_P(RowsVectorTest, ScoresOfLogitsThatAreNoNumbersCountAndAreNeverChosen) {
  for (uint32_t count = 1; count <= 40; ++count) {
    std::vector<float> logits = floats(count);
    logits[count / 2] = kNan;
    logits[0] = count > 1 ? kInfinity : kNan;
    const std::vector<float> bias = floats(count);
    std::vector<float> scores(count), choice(count), wanted(count), wanted_choice(count);
    EXPECT_EQ(
        kernels().route_scores(logits.data(), bias.data(), count, scores.data(), choice.data()),
        1u);
    EXPECT_EQ(scalar().route_scores(logits.data(), bias.data(), count, wanted.data(),
                                    wanted_choice.data()),
              1u);
    for (uint32_t i = 0; i < count; ++i) {
      EXPECT_NEAR(scores[i], wanted[i], 3e-7f) << count << " " << i;
      if (std::isinf(wanted_choice[i])) {
        EXPECT_EQ(choice[i], wanted_choice[i]) << count << " " << i;
      } else {
        EXPECT_NEAR(choice[i], wanted_choice[i], 1e-6f) << count << " " << i;
      }
    }
  }
}

}  // namespace
}  // namespace dsv3
