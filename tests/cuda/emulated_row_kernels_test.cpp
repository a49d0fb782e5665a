// Do the kernels on single rows compute their formulas? Each is run on the emulated GPU and
// compared with double precision, at odd widths and addresses, alone and among other rows, and with
// indices that point outside.
#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>

#include "cuda/row_fixture.h"
#include "kernels/norm.h"
#include "kernels/quantise.h"
#include "kernels/rows.h"

namespace dsv3::row_test {
namespace {

using kernels::Type;
using RowKernelsTest = RowKernels;

// Widths with their strides, and first elements off alignment: the ways rows are read.
struct Layout {
  uint32_t cols;
  uint32_t stride;
  uint32_t shift;
};
constexpr Layout kLayouts[] = {{8, 8, 0},     {24, 24, 0},     {7, 9, 1},       {130, 136, 0},
                               {257, 300, 3}, {1536, 1536, 0}, {4100, 4104, 0}, {7168, 7168, 0}};

TEST_F(RowKernelsTest, TakeTokensWritesKnownAndReadsDrawn) {
  constexpr uint32_t kStride = 40;
  Numbers numbers(1);
  std::vector<int32_t> history(4 * kStride);
  for (int32_t& token : history) token = static_cast<int32_t>(numbers.below(1000));
  const std::vector<int32_t> before = history;
  std::vector<int32_t> tokens;
  std::vector<uint32_t> slots;
  std::vector<uint32_t> positions;
  for (uint32_t slot = 0; slot < 4; ++slot) {
    for (uint32_t position = slot; position < kStride; position += 1 + slot) {
      tokens.push_back(numbers.below(3) == 0 ? -1 : 2000 + static_cast<int32_t>(position));
      slots.push_back(slot);
      positions.push_back(position);
    }
  }
  tokens.push_back(5);  // outside: nothing may happen
  slots.push_back(3);
  positions.push_back(kStride);
  const std::vector<int32_t> given = tokens;
  const auto rows = static_cast<uint32_t>(tokens.size());
  finish(kernels::launch_take_tokens_any(
      {rows, tokens.data(), slots.data(), positions.data(), history.data(), kStride}, stream_));
  std::vector<int32_t> wanted = before;
  for (uint32_t row = 0; row + 1 < rows; ++row) {
    const size_t entry = slots[row] * kStride + positions[row];
    EXPECT_EQ(tokens[row], given[row] < 0 ? before[entry] : given[row]) << row;
    if (given[row] >= 0) wanted[entry] = given[row];
  }
  EXPECT_EQ(history, wanted);
}

TEST_F(RowKernelsTest, EmbedRoundsTheTableOnce) {
  Numbers numbers(2);
  const std::vector<int32_t> tokens = {4, 0, 2, 4, -1, 5};
  for (const Layout& layout : kLayouts) {
    for (const auto& [stored, act] : {std::tuple{Type::kBF16, Type::kBF16},
                                      {Type::kF32, Type::kBF16},
                                      {Type::kBF16, Type::kF32},
                                      {Type::kF32, Type::kF32}}) {
      const Grid table = Grid::random(numbers, Grid(stored, 5, layout.cols, layout.stride));
      Grid out(act, 6, layout.cols, layout.stride, layout.shift);
      finish(kernels::launch_embed_any({tokens.data(), table.weights(), out.view()}, stream_));
      for (uint32_t row = 0; row < 6; ++row) {
        for (uint32_t col = 0; col < layout.cols; ++col) {
          const float wanted =
              row < 4 ? out.rounded(table.get(static_cast<uint32_t>(tokens[row]), col)) : 0.0f;
          ASSERT_EQ(out.get(row, col), wanted) << layout.cols << ": " << row << ", " << col;
        }
      }
    }
  }
}

TEST_F(RowKernelsTest, EmbedReadsF8WithItsScales) {
  constexpr uint32_t kRows = 200;
  constexpr uint32_t kCols = 300;
  constexpr uint32_t kStride = 304;
  std::vector<uint8_t> codes(kRows * kStride);
  for (uint32_t r = 0; r < kRows; ++r) {
    // Exponent 1.0 and the mantissa by place: the value is 1 + m / 8.
    for (uint32_t c = 0; c < kCols; ++c) {
      codes[r * kStride + c] = static_cast<uint8_t>(0x38 + (r + c) % 8);
    }
  }
  const std::vector<float> scales = {1.0f, 2.0f, 3.0f, 0.0f, 4.0f, 5.0f, 6.0f, 0.0f};  // [2, 3]
  const std::vector<int32_t> tokens = {0, 127, 128, 199};
  Grid out(Type::kF32, 4, kCols, kCols);
  finish(kernels::launch_embed_any(
      {tokens.data(),
       {codes.data(), Type::kF8E4M3, kRows, kCols, kStride, scales.data(), 4},
       out.view()},
      stream_));
  for (uint32_t row = 0; row < 4; ++row) {
    const auto token = static_cast<uint32_t>(tokens[row]);
    for (uint32_t col = 0; col < kCols; ++col) {
      const auto eighths = static_cast<float>((token + col) % 8);
      const float scale = scales[token / 128 * 4 + col / 128];
      ASSERT_EQ(out.get(row, col), (1.0f + eighths / 8.0f) * scale) << row << ", " << col;
    }
  }
}

struct NormCase {
  Layout layout;
  Type act;
  Type weight;
  bool has_h;
};

// Inputs and outputs of one norm of `kRows` rows.
struct Norm {
  static constexpr uint32_t kRows = 5;
  Grid x;
  Grid h;
  Grid weight;
  Grid sum;
  Grid out;
  Norm(Numbers& numbers, const NormCase& c)
      : x(c.act, kRows, c.layout.cols, c.layout.stride, c.layout.shift),
        h(x),
        weight(Grid::random(numbers, Grid(c.weight, 1, c.layout.cols, c.layout.cols))),
        sum(x),
        out(c.act, kRows, c.layout.cols, c.layout.stride + 8) {
    x = Grid::random(numbers, x);
    h = Grid::random(numbers, h, 3.0);
    sum = x;
  }
  kernels::NormParams params(bool has_h) {
    return {.x = static_cast<const Grid&>(x).view(),
            .h = has_h ? static_cast<const Grid&>(h).view() : kernels::ConstMatrix{},
            .sum = has_h ? sum.view() : kernels::Matrix{},
            .weight = weight.weights(),
            .eps = 1e-6f,
            .out = out.view(),
            .codes = {}};
  }
};

std::vector<NormCase> norm_cases() {
  std::vector<NormCase> cases;
  for (const Layout& layout : kLayouts) {
    cases.push_back({layout, Type::kBF16, Type::kBF16, true});
    cases.push_back({layout, Type::kBF16, Type::kF32, false});
    cases.push_back({layout, Type::kF32, Type::kF32, true});
  }
  return cases;
}

TEST_F(RowKernelsTest, NormFollowsDoublePrecision) {
  Numbers numbers(3);
  for (const NormCase& c : norm_cases()) {
    Norm norm(numbers, c);
    finish(kernels::launch_norm_any(norm.params(c.has_h), stream_));
    // A sum of squares of positive terms, a root, three products; then one rounding to act.
    const double bound = c.act == Type::kF32 ? 16 * 0x1p-24 : 0x1p-8 + 16 * 0x1p-24;
    for (uint32_t r = 0; r < Norm::kRows; ++r) {
      double squares = 0.0;
      std::vector<float> s;
      for (uint32_t col = 0; col < c.layout.cols; ++col) {
        s.push_back(norm.x.get(r, col) + (c.has_h ? norm.h.get(r, col) : 0.0f));
        squares += static_cast<double>(s[col]) * static_cast<double>(s[col]);
        const float carried = c.has_h ? norm.x.rounded(s[col]) : norm.x.get(r, col);
        ASSERT_EQ(norm.sum.get(r, col), carried) << c.layout.cols << ": " << r << ", " << col;
      }
      const double root = std::sqrt(squares / c.layout.cols + static_cast<double>(1e-6f));
      for (uint32_t col = 0; col < c.layout.cols; ++col) {
        const double wanted =
            static_cast<double>(norm.weight.get(0, col)) * static_cast<double>(s[col]) / root;
        ASSERT_NEAR(static_cast<double>(norm.out.get(r, col)), wanted,
                    bound * std::fabs(wanted) + 1e-30)
            << c.layout.cols << ": " << r << ", " << col;
      }
    }
  }
}

// Row by row, at another address and in place: the bits stay (STRICT).
TEST_F(RowKernelsTest, NormBitsDependOnTheRowAlone) {
  Numbers numbers(4);
  for (const NormCase& c : norm_cases()) {
    Norm norm(numbers, c);
    finish(kernels::launch_norm_any(norm.params(c.has_h), stream_));
    for (uint32_t r = 0; r < Norm::kRows; ++r) {
      Grid one(c.act, 1, c.layout.cols, c.layout.cols, 5);
      for (uint32_t col = 0; col < c.layout.cols; ++col) one.set(0, col, norm.x.get(r, col));
      kernels::NormParams params = norm.params(c.has_h);
      params.x = static_cast<const Grid&>(one).view();
      if (c.has_h) params.h = norm.h.row_view(r);
      Grid sum = one;
      params.sum = c.has_h ? sum.view() : kernels::Matrix{};
      params.out = one.view();  // in place
      finish(kernels::launch_norm_any(params, stream_));
      EXPECT_TRUE(one.same_row(0, norm.out, r)) << c.layout.cols << ": " << r;
      if (c.has_h) {
        EXPECT_TRUE(sum.same_row(0, norm.sum, r)) << c.layout.cols << ": " << r;
      }
    }
  }
}

TEST_F(RowKernelsTest, NormCodesAreThoseOfItsOutput) {
  Numbers numbers(5);
  for (const NormCase& c : norm_cases()) {
    Norm norm(numbers, c);
    for (uint32_t col = 0; col < c.layout.cols && col < 200; ++col) {
      norm.x.set(0, col, 0.0f);  // a block below the smallest scale
      norm.h.set(0, col, 0.0f);
    }
    const uint32_t blocks = (c.layout.cols + 127) / 128;
    const uint64_t stride = uint64_t{blocks} * 128;
    std::vector<uint8_t> codes(Norm::kRows * stride, 0xee);
    std::vector<float> scales(Norm::kRows * (blocks + 1), -1.0f);
    kernels::NormParams params = norm.params(c.has_h);
    params.codes = {codes.data(), scales.data(), stride, blocks + 1};
    finish(kernels::launch_norm_any(params, stream_));
    std::vector<uint8_t> wanted_codes(codes.size(), 0xee);
    std::vector<float> wanted_scales(scales.size(), -1.0f);
    finish(kernels::launch_quantise_any(
        {static_cast<const Grid&>(norm.out).view(),
         {wanted_codes.data(), wanted_scales.data(), stride, blocks + 1}},
        stream_));
    EXPECT_EQ(codes, wanted_codes) << c.layout.cols;
    EXPECT_EQ(scales, wanted_scales) << c.layout.cols;
    Norm plain = norm;
    finish(kernels::launch_norm_any(plain.params(false), stream_));  // codes change nothing else
    if (!c.has_h) {
      for (uint32_t r = 0; r < Norm::kRows; ++r) EXPECT_TRUE(plain.out.same_row(r, norm.out, r));
    }
  }
}

TEST_F(RowKernelsTest, RmsNormOfTheFirstColumns) {
  Numbers numbers(6);
  const Grid x = Grid::random(numbers, Grid(Type::kBF16, 3, 576, 576));
  const Grid weight = Grid::random(numbers, Grid(Type::kF32, 1, 512, 512));
  Grid out(Type::kBF16, 3, 512, 512);
  Grid narrow(Type::kBF16, 3, 512, 512);
  for (uint32_t r = 0; r < 3; ++r) {
    for (uint32_t c = 0; c < 512; ++c) narrow.set(r, c, x.get(r, c));
  }
  kernels::NormParams params{.x = x.view(),
                             .h = {},
                             .sum = {},
                             .weight = weight.weights(),
                             .eps = 1e-6f,
                             .out = out.view(),
                             .codes = {}};
  finish(kernels::launch_norm_any(params, stream_));
  params.x = static_cast<const Grid&>(narrow).view();
  params.out = narrow.view();
  finish(kernels::launch_norm_any(params, stream_));
  for (uint32_t r = 0; r < 3; ++r) EXPECT_TRUE(out.same_row(r, narrow, r)) << r;
}

TEST_F(RowKernelsTest, SwigluFollowsDoublePrecision) {
  Numbers numbers(7);
  for (const Layout& layout : kLayouts) {
    for (const Type act : {Type::kBF16, Type::kF32}) {
      const Grid shape(act, 4, layout.cols, layout.stride, layout.shift);
      Grid gate = Grid::random(numbers, shape, 4.0);
      const Grid up = Grid::random(numbers, shape);
      gate.set(0, 0, -200.0f);  // the exponential overflows: exactly nothing is left
      Grid out(act, 4, layout.cols, layout.stride + 1);
      const Grid& values = gate;
      finish(kernels::launch_swiglu_any({values.view(), up.view(), out.view()}, stream_));
      const double bound = act == Type::kF32 ? 8 * 0x1p-24 : 0x1p-8 + 8 * 0x1p-24;
      for (uint32_t r = 0; r < 4; ++r) {
        for (uint32_t c = 0; c < layout.cols; ++c) {
          const auto g = static_cast<double>(gate.get(r, c));
          const double wanted = g / (1.0 + std::exp(-g)) * static_cast<double>(up.get(r, c));
          ASSERT_NEAR(static_cast<double>(out.get(r, c)), wanted, bound * std::fabs(wanted) + 1e-37)
              << layout.cols << ": " << r << ", " << c;
        }
      }
      finish(kernels::launch_swiglu_any({values.view(), up.view(), gate.view()}, stream_));
      for (uint32_t r = 0; r < 4; ++r) EXPECT_TRUE(gate.same_row(r, out, r)) << "in place";
    }
  }
}

TEST_F(RowKernelsTest, CopyRowsGathersScattersAndSkips) {
  Numbers numbers(8);
  const std::vector<uint32_t> from = {3, 0, 9, 3, 1};  // 9 is outside
  const std::vector<uint32_t> to = {2, 6, 1, 0, 4};    // 6 is outside
  for (const Layout& layout : kLayouts) {
    for (const Type type : {Type::kBF16, Type::kF32}) {
      const Grid x = Grid::random(numbers, Grid(type, 4, layout.cols, layout.stride));
      const Grid old(type, 5, layout.cols, layout.stride, layout.shift);
      Grid out = old;
      finish(kernels::launch_copy_rows_any({x.view(), from.data(), out.view(), to.data(), 5},
                                           stream_));
      EXPECT_TRUE(out.same_row(0, x, 3));
      EXPECT_TRUE(out.same_row(1, old, 1));
      EXPECT_TRUE(out.same_row(2, x, 3));
      EXPECT_TRUE(out.same_row(3, old, 3));
      EXPECT_TRUE(out.same_row(4, x, 1));
      Grid all = old;
      finish(kernels::launch_copy_rows_any({x.view(), nullptr, all.view(), nullptr, 4}, stream_));
      for (uint32_t r = 0; r < 4; ++r) EXPECT_TRUE(all.same_row(r, x, r)) << r;
      EXPECT_TRUE(all.same_row(4, old, 4));
    }
  }
}

}  // namespace
}  // namespace dsv3::row_test
