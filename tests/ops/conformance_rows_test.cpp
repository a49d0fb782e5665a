// Do the operations on single rows (embed, norms, SwiGLU, copies) give what the oracle gives, and
// refuse what does not fit? Random rows of every dtype, smallest, odd and largest widths.
#include <cmath>
#include <limits>

#include "ops/ops_fixture.h"

namespace dsv3::ops_test {
namespace {

using RowsConformance = Conformance;
INSTANTIATE_TEST_SUITE_P(All, RowsConformance, ::testing::ValuesIn(all_ops()), ops_name);

constexpr DType kActs[] = {DType::kBF16, DType::kF32};
constexpr DType kWeights[] = {DType::kBF16, DType::kF16, DType::kF32, DType::kF8E4M3};
constexpr uint32_t kWidths[] = {1, 7, 80, 512, 7168};

// One rounding to `act` of a value computed in FP32 with a relative error of `steps` roundings.
Values rounded(const Values& expected, DType act, double steps) {
  Values bound;
  for (const double value : expected) {
    bound.push_back(std::fabs(value) * (round_of(act) * 1.01 + steps * kRoundF32) + 1e-38);
  }
  return bound;
}

TEST_P(RowsConformance, EmbedCopiesTheTableRow) {
  Random random(3);
  const std::vector<int32_t> tokens = {4, 0, 299, 4, 130};
  for (const DType act : kActs) {
    for (const DType format : kWeights) {
      const Matrix table = Matrix::random(random, format, 300, 200);
      Matrix out(act, 5, 200);
      ops_.embed({.tokens = tokens.data(), .table = table.weight(), .out = out.rows()});
      Values expected;
      for (const int32_t token : tokens) {
        const Values row = table.row_values(static_cast<uint32_t>(token));
        expected.insert(expected.end(), row.begin(), row.end());
      }
      expect_close(out.values(), expected, rounded(expected, act, 1.0), "embed");
    }
  }
  const std::vector<int32_t> wrong = {300};
  const Matrix table(DType::kBF16, 300, 8);
  Matrix out(DType::kBF16, 1, 8);
  expect_contents_refused(
      [&] { ops_.embed({.tokens = wrong.data(), .table = table.weight(), .out = out.rows()}); },
      "embed", "tokens[0] is 300");
}

TEST_P(RowsConformance, AddNormCarriesTheRoundedAndNormsTheExactSum) {
  Random random(4);
  for (const DType act : kActs) {
    for (const uint32_t width : kWidths) {
      const Matrix h = Matrix::random(random, act, 3, width, 2.0);
      const Matrix start = Matrix::random(random, act, 3, width, 30.0);
      const Matrix weight =
          Matrix::random(random, width % 2 == 0 ? DType::kBF16 : DType::kF32, 1, width);
      Matrix residual = start;
      Matrix out(act, 3, width);
      ops_.add_norm({.h = h.rows(),
                     .residual = residual.rows(),
                     .weight = weight.weight(),
                     .eps = 1e-5f,
                     .out = out.rows()});
      const double eps = static_cast<double>(1e-5f);
      const auto expected = reference::add_norm(h.values(), start.values(), weight.values(), eps);
      // The sum of squares has only positive terms: its relative error is sum_error, halved by the
      // root; eight more roundings around it.
      const double steps = sum_error(width, GetParam()) / kRoundF32 + 8.0;
      expect_close(out.values(), expected.normed, rounded(expected.normed, act, steps), "normed");
      expect_close(residual.values(), expected.residual, rounded(expected.residual, act, 1.0),
                   "residual");

      Matrix untouched = start;
      ops_.add_norm({.h = {},
                     .residual = untouched.rows(),
                     .weight = weight.weight(),
                     .eps = 1e-5f,
                     .out = out.rows()});
      const Values alone = reference::rms_norm(start.values(), weight.values(), eps);
      expect_close(out.values(), alone, rounded(alone, act, steps), "without h");
      EXPECT_TRUE(untouched.same_bits(start));
    }
  }
}

TEST_P(RowsConformance, RmsNormTakesTheFirstColumnsAndMayWorkInPlace) {
  Random random(5);
  for (const DType act : kActs) {
    for (const uint32_t width : kWidths) {
      const Matrix x = Matrix::random(random, act, 2, width + 64);
      const Matrix weight = Matrix::random(random, DType::kF32, 1, width);
      Matrix out(act, 2, width);
      ops_.rms_norm({.x = x.rows(), .weight = weight.weight(), .eps = 1e-6f, .out = out.rows()});
      Values first;
      for (uint32_t r = 0; r < 2; ++r) {
        for (uint32_t c = 0; c < width; ++c) first.push_back(x.get(r, c));
      }
      const Values expected =
          reference::rms_norm(first, weight.values(), static_cast<double>(1e-6f));
      const double steps = sum_error(width, GetParam()) / kRoundF32 + 8.0;
      expect_close(out.values(), expected, rounded(expected, act, steps), "rms_norm");
      Matrix in_place = x;
      Rows view = in_place.rows();
      view.cols = width;
      ops_.rms_norm({.x = in_place.rows(), .weight = weight.weight(), .eps = 1e-6f, .out = view});
      for (uint32_t r = 0; r < 2; ++r) {
        for (uint32_t c = 0; c < width + 64; ++c) {
          EXPECT_EQ(in_place.get(r, c), c < width ? out.get(r, c) : x.get(r, c));
        }
      }
    }
  }
}

TEST_P(RowsConformance, NormOfANanRowIsNanAndOfZerosIsZero) {
  for (const DType act : kActs) {
    Matrix x(act, 3, 70);
    x.set(1, 69, std::numeric_limits<double>::quiet_NaN());
    for (uint32_t c = 0; c < 70; ++c) x.set(2, c, c % 2 == 0 ? 1.0 : -1.0);
    Matrix weight(DType::kF32, 1, 70);
    for (uint32_t c = 0; c < 70; ++c) weight.set(0, c, 2.0);
    Matrix out(act, 3, 70);
    ops_.rms_norm({.x = x.rows(), .weight = weight.weight(), .eps = 1e-6f, .out = out.rows()});
    for (uint32_t c = 0; c < 70; ++c) {
      EXPECT_EQ(out.get(0, c), 0.0);
      EXPECT_TRUE(std::isnan(out.get(1, c)));
      EXPECT_NEAR(out.get(2, c), c % 2 == 0 ? 2.0 : -2.0, 1e-2);
    }
  }
}

TEST_P(RowsConformance, SwigluOverItsWholeRange) {
  Random random(6);
  for (const DType act : kActs) {
    for (const uint32_t width : {1u, 7u, 80u, 512u, 9000u}) {
      Matrix gate = Matrix::random(random, act, 2, width, 4.0);
      const Matrix up = Matrix::random(random, act, 2, width, 2.0);
      const double ends[] = {0.0, -0.0, 60.0, -60.0, 100.0, -80.0};
      for (uint32_t c = 0; c < width && c < 6; ++c) gate.set(0, c, ends[c]);
      Matrix out(act, 2, width);
      ops_.swiglu({.gate = gate.rows(), .up = up.rows(), .out = out.rows()});
      const Values expected = reference::swiglu(gate.values(), up.values());
      // exp in FP32 is off by up to |x| * 2^-24 through its argument, and a few roundings more.
      Values bound = rounded(expected, act, 8.0);
      const Values gates = gate.values();
      for (size_t i = 0; i < bound.size(); ++i) {
        bound[i] += std::fabs(expected[i] * gates[i]) * kRoundF32;
      }
      expect_close(out.values(), expected, bound, "swiglu");
      ops_.swiglu({.gate = gate.rows(), .up = up.rows(), .out = gate.rows()});
      EXPECT_TRUE(gate.same_bits(out)) << "in place";
    }
  }
}

TEST_P(RowsConformance, CopyRowsGathersAndScatters) {
  Random random(7);
  for (const DType act : kActs) {
    const Matrix x = Matrix::random(random, act, 6, 33);
    Matrix out(act, 6, 33);
    const std::vector<uint32_t> from = {5, 1, 3};
    const std::vector<uint32_t> to = {0, 4, 2};
    ops_.copy_rows({.x = x.rows(),
                    .x_rows = from.data(),
                    .out = out.rows(),
                    .out_rows = to.data(),
                    .count = 3});
    for (size_t i = 0; i < 3; ++i) EXPECT_TRUE(out.same_row(to[i], x, from[i]));
    ops_.copy_rows(
        {.x = x.rows(), .x_rows = nullptr, .out = out.rows(), .out_rows = nullptr, .count = 6});
    EXPECT_TRUE(out.same_bits(x));
    const std::vector<uint32_t> beyond = {6};
    expect_contents_refused(
        [&] {
          ops_.copy_rows({.x = x.rows(),
                          .x_rows = beyond.data(),
                          .out = out.rows(),
                          .out_rows = nullptr,
                          .count = 1});
        },
        "copy_rows", "rows of x");
    expect_refused(
        [&] {
          ops_.copy_rows({.x = x.rows(),
                          .x_rows = nullptr,
                          .out = out.rows(),
                          .out_rows = nullptr,
                          .count = 7});
        },
        "copy_rows", "count");
  }
}

TEST_P(RowsConformance, RefusesMixedActivations) {
  Matrix a(DType::kBF16, 1, 8);
  Matrix b(DType::kF32, 1, 8);
  const Matrix weight(DType::kF32, 1, 8);
  const Matrix short_weight(DType::kF32, 1, 7);
  expect_refused([&] { ops_.swiglu({.gate = a.rows(), .up = b.rows(), .out = a.rows()}); },
                 "swiglu", "up");
  expect_refused(
      [&] {
        ops_.add_norm(
            {.h = a.rows(), .residual = b.rows(), .weight = weight.weight(), .out = b.rows()});
      },
      "add_norm", "h");
  expect_refused(
      [&] {
        ops_.add_norm(
            {.h = {}, .residual = b.rows(), .weight = short_weight.weight(), .out = b.rows()});
      },
      "add_norm", "weight");
  expect_refused(
      [&] { ops_.rms_norm({.x = a.rows(), .weight = weight.weight(), .out = b.rows()}); },
      "rms_norm", "out");
}

}  // namespace
}  // namespace dsv3::ops_test
