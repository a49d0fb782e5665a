// Does linear give what plain double loops give? Every dtype pair and profile, sizes from one to
// whole blocks and edges, against the oracle within the rounding errors the formats allow.
#include <cmath>
#include <limits>
#include <vector>

#include "ops/quant_fixture.h"

namespace dsv3::ops_test {
namespace {

using LinearConformance = Conformance;
INSTANTIATE_TEST_SUITE_P(All, LinearConformance, ::testing::ValuesIn(all_ops()), ops_name);

struct Size {
  uint32_t rows, in, out;
};
constexpr Size kSizes[] = {{1, 1, 1},      {1, 7, 3},    {3, 129, 5},   {5, 128, 130},
                           {35, 200, 70},  {2, 2048, 9}, {1, 7168, 21}, {40, 300, 257},
                           {1, 384, 1000}, {4, 33, 136}};

struct Pair {
  DType x, weight, y;
};
std::vector<Pair> pairs() {
  std::vector<Pair> all;
  for (const DType weight : {DType::kBF16, DType::kF16, DType::kF32, DType::kF8E4M3}) {
    all.push_back({DType::kBF16, weight, DType::kBF16});
    all.push_back({DType::kBF16, weight, DType::kF32});
    all.push_back({DType::kF32, weight, DType::kF32});
  }
  return all;
}

TEST_P(LinearConformance, MatchesTheOracleForEveryPairAndSize) {
  Random random(1);
  for (const Size& size : kSizes) {
    for (const Pair& pair : pairs()) {
      const Matrix x = Matrix::random(random, pair.x, size.rows, size.in);
      const Matrix w = Matrix::random(random, pair.weight, size.out, size.in, 0.1);
      Matrix y(pair.y, size.rows, size.out);
      ops_.linear({.x = x.rows(), .weight = w.weight(), .y = y.rows()});
      const Values in = multiplied(x.values(), size.in, pair.weight, GetParam().quant);
      const Values expected = reference::linear(in, w.values(), size.in, size.out);
      Values bound = product_bound(in, w, GetParam());
      for (size_t i = 0; i < bound.size(); ++i) {
        bound[i] += round_of(pair.y) * (std::fabs(expected[i]) + bound[i]);
      }
      expect_close(y.values(), expected, bound,
                   str("[", size.rows, ", ", size.in, "] x [", size.out, ", ", size.in, "] ",
                       dtype_name(pair.x), " x ", dtype_name(pair.weight)));
    }
  }
}

// Every e4m3 code times 448, whose own code has the scale 1, so that each decoded value and each
// scale shows.
TEST_P(LinearConformance, DecodesEveryF8CodeExactly) {
  for (const DType act : {DType::kBF16, DType::kF32}) {
    for (const uint32_t rows : {1u, 3u}) {
      std::vector<uint8_t> codes(256 * 256, 0);
      for (uint32_t i = 0; i < 256; ++i) codes[i * 256 + i] = static_cast<uint8_t>(i);
      const float scales[4] = {1.0f, 3.0f, 0x1p-20f, -7.0f};
      Matrix x(act, rows, 256);
      for (uint32_t r = 0; r < rows; ++r) {
        for (uint32_t c = 0; c < 256; ++c) x.set(r, c, 448.0);
      }
      Matrix y(DType::kF32, rows, 256);
      Weight weight{.data = codes.data(),
                    .dtype = DType::kF8E4M3,
                    .rows = 256,
                    .cols = 256,
                    .stride = 256,
                    .scales = scales,
                    .scale_stride = 2};
      ops_.linear({.x = x.rows(), .weight = weight, .y = y.rows()});
      for (uint32_t i = 0; i < 256; ++i) {
        const double wanted = 448.0 * static_cast<double>(e4m3_to_float(static_cast<uint8_t>(i))) *
                              static_cast<double>(scales[i / 128 * 3]);
        for (uint32_t r = 0; r < rows; ++r) {
          if (std::isnan(wanted)) {
            EXPECT_TRUE(std::isnan(y.get(r, i))) << "code " << i;
          } else {
            EXPECT_EQ(y.get(r, i), static_cast<double>(static_cast<float>(wanted))) << "code " << i;
          }
        }
      }
    }
  }
}

TEST_P(LinearConformance, NanAndInfinityStayInTheirRowAndOutput) {
  Random random(2);
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  for (const DType act : {DType::kBF16, DType::kF32}) {
    for (const uint32_t col : {0u, 37u, 199u}) {
      Matrix x = Matrix::random(random, act, 5, 200);
      Matrix w = Matrix::random(random, DType::kBF16, 11, 200, 0.1);
      x.set(1, col, kNan);
      x.set(3, col, std::numeric_limits<double>::infinity());
      w.set(6, 199 - col, kNan);
      Matrix y(DType::kF32, 5, 11);
      ops_.linear({.x = x.rows(), .weight = w.weight(), .y = y.rows()});
      for (uint32_t r = 0; r < 5; ++r) {
        for (uint32_t o = 0; o < 11; ++o) {
          const bool is_nan = r == 1 || o == 6;
          EXPECT_EQ(std::isnan(y.get(r, o)), is_nan) << r << ", " << o;
          if (is_nan) continue;
          EXPECT_EQ(std::isinf(y.get(r, o)), r == 3) << r << ", " << o;
        }
      }
    }
  }
}

// A weight of ones on the diagonal: y is each element of x, or its code * scale, to the bit.
TEST_P(LinearConformance, MultipliesEveryElementExactly) {
  constexpr uint32_t kWidth = 200;  // a whole block and one cut short
  std::vector<uint8_t> codes(kWidth * kWidth, 0);
  for (uint32_t i = 0; i < kWidth; ++i) codes[i * kWidth + i] = 0x38;
  const float scales[4] = {1.0f, 1.0f, 1.0f, 1.0f};
  const Weight ones{.data = codes.data(),
                    .dtype = DType::kF8E4M3,
                    .rows = kWidth,
                    .cols = kWidth,
                    .stride = kWidth,
                    .scales = scales,
                    .scale_stride = 2};
  Random random(5);
  for (const DType act : {DType::kBF16, DType::kF32}) {
    const std::vector<double> magnitudes = {1.0, 0.0, 1e-7, 1e-5, 300.0, 1e30, 0.03, 1.0};
    const auto rows = static_cast<uint32_t>(magnitudes.size());
    Matrix x(act, rows, kWidth);
    for (uint32_t r = 0; r < rows; ++r) {
      for (uint32_t c = 0; c < kWidth; ++c) x.set(r, c, random.normal() * magnitudes[r]);
    }
    // Scale 1, and quotients half-way between codes.
    for (uint32_t c = 0; c < kWidth; ++c) x.set(7, c, 0.125 * (c % 128) + 0.0625);
    x.set(7, 0, -448.0);
    x.set(7, 130, 448.0);
    Matrix y(DType::kF32, rows, kWidth);
    ops_.linear({.x = x.rows(), .weight = ones, .y = y.rows()});
    const Values wanted = multiplied(x.values(), kWidth, ones.dtype, GetParam().quant);
    for (uint32_t r = 0; r < rows; ++r) {
      for (uint32_t c = 0; c < kWidth; ++c) {
        EXPECT_EQ(y.get(r, c), static_cast<double>(static_cast<float>(wanted[r * kWidth + c])))
            << dtype_name(act) << " row " << r << ", x " << x.get(r, c);
      }
    }
  }
}

TEST_P(LinearConformance, NanStaysInItsRowWhenQuantised) {
  Random random(6);
  Matrix x = Matrix::random(random, DType::kBF16, 5, 300);
  const Matrix w = Matrix::random(random, DType::kF8E4M3, 11, 300, 0.1);
  x.set(1, 290, std::numeric_limits<double>::quiet_NaN());
  x.set(3, 7, std::numeric_limits<double>::infinity());  // its block has no scale any more
  Matrix y(DType::kF32, 5, 11);
  ops_.linear({.x = x.rows(), .weight = w.weight(), .y = y.rows()});
  for (uint32_t r = 0; r < 5; ++r) {
    for (uint32_t o = 0; o < 11; ++o) {
      const double found = y.get(r, o);
      const bool is_lost = r == 3 && GetParam().quant == ActivationQuant::k1x128;
      EXPECT_EQ(std::isnan(found), r == 1 || is_lost || (r == 3 && w.get(o, 7) == 0.0));
      if (r != 1 && r != 3) {
        EXPECT_TRUE(std::isfinite(found)) << r << ", " << o;
      }
    }
  }
}

// Different widths, dtypes and row counts of one call: the bits of one call for each.
TEST_P(LinearConformance, SeveralTogetherAreAsOneAfterTheOther) {
  Random random(7);
  for (const DType act : {DType::kBF16, DType::kF32}) {
    for (const uint32_t rows : {1u, 3u, 9u, 130u}) {
      const Matrix x = Matrix::random(random, act, rows, 300);
      const Matrix other = Matrix::random(random, act, rows, 129);
      const Matrix weights[] = {Matrix::random(random, DType::kBF16, 257, 300, 0.1),
                                Matrix::random(random, DType::kF8E4M3, 5, 129, 0.1),
                                Matrix::random(random, DType::kF32, 64, 300, 0.1),
                                Matrix::random(random, DType::kF8E4M3, 200, 300, 0.1)};
      std::vector<Matrix> together;
      std::vector<Matrix> alone;
      std::vector<LinearArgs> all;
      for (const Matrix& weight : weights) {
        together.emplace_back(act, rows, weight.row_count());
        alone.emplace_back(act, rows, weight.row_count());
      }
      for (size_t i = 0; i < together.size(); ++i) {
        const Matrix& in = weights[i].cols() == 300 ? x : other;
        all.push_back({.x = in.rows(), .weight = weights[i].weight(), .y = together[i].rows()});
        ops_.linear({.x = in.rows(), .weight = weights[i].weight(), .y = alone[i].rows()});
      }
      ops_.linears(all);
      for (size_t i = 0; i < together.size(); ++i) {
        EXPECT_TRUE(together[i].same_bits(alone[i])) << rows << " rows, linear " << i;
      }
    }
  }
  ops_.linears({});
}

TEST_P(LinearConformance, ZeroRowsDoNothing) {
  Matrix w(DType::kBF16, 4, 8);
  ops_.linear({.x = {nullptr, DType::kBF16, 0, 8, 8},
               .weight = w.weight(),
               .y = {nullptr, DType::kBF16, 0, 4, 4}});
}

TEST_P(LinearConformance, RefusesWhatDoesNotFit) {
  const Matrix x(DType::kBF16, 2, 8);
  const Matrix w(DType::kBF16, 4, 8);
  const Matrix wide(DType::kBF16, 4, 7169);
  const Matrix wide_x(DType::kBF16, 2, 7169);
  Matrix y(DType::kBF16, 2, 4);
  Matrix y_wide(DType::kBF16, 2, 5);
  const LinearArgs good{.x = x.rows(), .weight = w.weight(), .y = y.rows()};
  ops_.linear(good);
  const auto refuse = [&](const char* argument, const auto& change) {
    LinearArgs args = good;
    change(args);
    expect_refused([&] { ops_.linear(args); }, "linear", argument);
  };
  refuse("x is null", [](LinearArgs& a) { a.x.data = nullptr; });
  refuse("x is F16", [](LinearArgs& a) { a.x.dtype = DType::kF16; });
  refuse("x is of row stride", [](LinearArgs& a) { a.x.stride = 7; });
  refuse("y is 5 columns", [&](LinearArgs& a) { a.y = y_wide.rows(); });
  refuse("y is 1 rows", [](LinearArgs& a) { a.y.rows = 1; });
  refuse("y is BF16 for x in F32", [](LinearArgs& a) { a.x.dtype = DType::kF32; });
  refuse("weight is absent", [](LinearArgs& a) { a.weight.data = nullptr; });
  refuse("weight is I32", [](LinearArgs& a) { a.weight.dtype = DType::kI32; });
  refuse("without scales", [](LinearArgs& a) { a.weight.dtype = DType::kF8E4M3; });
  refuse("linear_in_max", [&](LinearArgs& a) {
    a.weight = wide.weight();
    a.x = wide_x.rows();
  });
}

}  // namespace
}  // namespace dsv3::ops_test
