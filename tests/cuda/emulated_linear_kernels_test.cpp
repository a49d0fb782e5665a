// Do all tiles of a linear give the product, and the same bits whatever else is in the batch? Each
// kernel on the emulated GPU against double precision with the same rounding points, for odd and
// whole shapes, every pair of types and both profiles.
#include <algorithm>

#include "cuda/linear_fixture.h"

namespace dsv3::linear_test {
namespace {

constexpr LinearTile kAllTiles[] = {LinearTile::kPlain, LinearTile::kStream, LinearTile::kSmall,
                                    LinearTile::kLarge};
constexpr LinearTile kTensorTiles[] = {LinearTile::kStream, LinearTile::kSmall, LinearTile::kLarge};

const char* tile_name(LinearTile tile) {
  constexpr const char* kNames[] = {"plain", "stream", "small", "large"};
  return kNames[static_cast<int>(tile)];
}

// |y - expected| within the rounding errors that any order of the sum could have made: 128 products
// one after the other, a fused scale and addition per block, eight runs.
void expect_product(const Grid& y, const Values& expected, const Values& magnitude, uint32_t in,
                    const std::string& what) {
  const double errors = 128.0 + 2.0 * (in / 128 + 1) + 8.0;
  const double rounding = y.type() == Type::kBF16 ? 0x1p-8 : 0x1p-24;
  double worst = 0.0;
  std::string where;
  for (uint32_t i = 0; i < expected.size(); ++i) {
    const double found = y.get(i / y.cols(), i % y.cols());
    const double sum = magnitude[i] * errors * 0x1p-24 + 1e-36;
    const double bound = sum + rounding * (std::fabs(expected[i]) + sum);
    const double ratio = std::fabs(found - expected[i]) / bound;
    if (ratio <= 1.0 && ratio <= worst) continue;
    if (!(ratio <= worst)) {
      worst = std::isnan(ratio) ? std::numeric_limits<double>::infinity() : ratio;
      where = str("row ", i / y.cols(), ", column ", i % y.cols(), ": ", found, ", wanted ",
                  expected[i], " within ", bound);
    }
  }
  EXPECT_LE(worst, 1.0) << what << ": " << where;
}

Values absolute(Values values) {
  for (double& value : values) value = std::fabs(value);
  return values;
}

struct Size {
  uint32_t rows, in, out;
};

TEST_F(LinearKernels, EveryTileMatchesDoublePrecisionForOddAndWholeShapes) {
  constexpr Size kSizes[] = {{1, 1, 1},    {1, 7, 3},     {3, 24, 40},    {2, 200, 33},
                             {9, 129, 70}, {17, 256, 24}, {70, 136, 130}, {5, 1161, 17}};
  Numbers numbers(1);
  for (const Size& size : kSizes) {
    for (const Type weight_type : {Type::kBF16, Type::kF8E4M3}) {
      const Grid x = Grid::random(numbers, Type::kBF16, size.rows, size.in, false);
      const Grid w = Grid::random(numbers, weight_type, size.out, size.in, true, 0.1);
      const Values expected = reference::linear(x.values(), w.values(), size.in, size.out);
      const Values magnitude =
          reference::linear(absolute(x.values()), absolute(w.values()), size.in, size.out);
      for (const LinearTile tile : kAllTiles) {
        for (const Type y_type : {Type::kBF16, Type::kF32}) {
          if (y_type == Type::kBF16 && size.rows > 5) continue;
          const Grid y = linear(x, {}, w, y_type, tile);
          expect_product(y, expected, magnitude, size.in,
                         str(x.text(), " x ", w.text(), ", ", tile_name(tile)));
        }
      }
    }
  }
}

TEST_F(LinearKernels, OtherTypesMatchDoublePrecisionOnAnyTile) {
  constexpr Size kSizes[] = {{1, 1, 1}, {3, 30, 40}, {10, 300, 21}};
  Numbers numbers(2);
  for (const Size& size : kSizes) {
    for (const Type x_type : {Type::kF32, Type::kBF16}) {
      for (const Type w_type : {Type::kF32, Type::kF16, Type::kBF16, Type::kF8E4M3}) {
        const Grid x = Grid::random(numbers, x_type, size.rows, size.in, false);
        const Grid w = Grid::random(numbers, w_type, size.out, size.in, true, 0.1);
        const Values expected = reference::linear(x.values(), w.values(), size.in, size.out);
        const Values magnitude =
            reference::linear(absolute(x.values()), absolute(w.values()), size.in, size.out);
        Grid plain;
        for (const LinearTile tile : kAllTiles) {
          const Grid y = linear(x, {}, w, Type::kF32, tile);
          const std::string what = str(x.text(), " x ", w.text(), ", ", tile_name(tile));
          expect_product(y, expected, magnitude, size.in, what);
          if (tile == LinearTile::kPlain) plain = y;
          const bool has_tensor_product =
              x_type == Type::kBF16 && (w_type == Type::kBF16 || w_type == Type::kF8E4M3);
          if (!has_tensor_product) {
            EXPECT_TRUE(y.same(plain)) << what;
          }
        }
      }
    }
  }
}

TEST_F(LinearKernels, TilesAgreeInEveryBitAndARowDoesNotSeeTheOthers) {
  constexpr Size kSizes[] = {{75, 2200, 37}, {200, 1100, 20}, {33, 100, 150}, {8, 4096, 9}};
  Numbers numbers(3);
  for (const Size& size : kSizes) {
    for (const Type w_type : {Type::kBF16, Type::kF8E4M3}) {
      const Grid x = Grid::random(numbers, Type::kBF16, size.rows, size.in, false);
      const Grid w = Grid::random(numbers, w_type, size.out, size.in, true, 0.1);
      const Grid stream = linear(x, {}, w, Type::kF32, LinearTile::kStream);
      EXPECT_TRUE(stream.same(linear(x, {}, w, Type::kF32, LinearTile::kSmall))) << w.text();
      EXPECT_TRUE(stream.same(linear(x, {}, w, Type::kF32, LinearTile::kLarge))) << w.text();
      for (const uint32_t row : {0u, size.rows / 2, size.rows - 1}) {
        for (const LinearTile tile : {LinearTile::kStream, LinearTile::kLarge}) {
          const Grid alone = linear_row(x, row, w, Type::kF32, tile);
          EXPECT_TRUE(alone.same_row(0, stream, row)) << w.text() << " row " << row;
        }
      }
    }
  }
}

TEST_F(LinearKernels, NanAndInfinityStayInTheirRowAndOutput) {
  Numbers numbers(4);
  for (const Type w_type : {Type::kBF16, Type::kF8E4M3}) {
    Grid x = Grid::random(numbers, Type::kBF16, 35, 200, false);
    Grid w = Grid::random(numbers, w_type, 70, 200, true, 0.1);
    x.set(1, 199, NAN);
    x.set(33, 37, std::numeric_limits<double>::infinity());
    if (w_type == Type::kBF16) {
      w.set(69, 130, NAN);
      w.set(6, 199, NAN);
    } else {
      w.set_code(69, 130, 0x7f);
      w.set_code(6, 199, 0xff);
    }
    for (const LinearTile tile : kAllTiles) {
      const Grid y = linear(x, {}, w, Type::kF32, tile);
      for (uint32_t r = 0; r < 35; ++r) {
        for (uint32_t o = 0; o < 70; ++o) {
          const bool is_nan = r == 1 || o == 6 || o == 69;
          // Infinity times a weight of zero is NaN, too.
          const bool is_either = r == 33 && w.get(o, 37) == 0.0;
          EXPECT_EQ(std::isnan(y.get(r, o)), is_nan || is_either)
              << tile_name(tile) << ' ' << r << ", " << o;
        }
      }
    }
  }
}

TEST_F(LinearKernels, EveryF8CodeIsDecodedExactly) {
  Grid x(Type::kBF16, 2, 256);
  Grid w(Type::kF8E4M3, 256, 256, true);
  for (uint32_t i = 0; i < 256; ++i) {
    x.set(0, i, 1.0);
    x.set(1, i, -0x1p-60);
    w.set_code(i, i, static_cast<uint8_t>(i));
  }
  for (const LinearTile tile : kAllTiles) {
    const Grid y = linear(x, {}, w, Type::kF32, tile);
    for (uint32_t i = 0; i < 256; ++i) {
      const double value = reference::e4m3_value(static_cast<uint8_t>(i));
      if (std::isnan(value)) {
        EXPECT_TRUE(std::isnan(y.get(0, i)) && std::isnan(y.get(1, i))) << i;
      } else {
        EXPECT_EQ(y.get(0, i), value) << tile_name(tile) << " code " << i;
        EXPECT_EQ(y.get(1, i), value * -0x1p-60) << tile_name(tile) << " code " << i;
      }
    }
  }
}

TEST_F(LinearKernels, QuantisedRowsAreThoseOfTheReference) {
  Numbers numbers(5);
  for (const Type type : {Type::kBF16, Type::kF32}) {
    for (const uint32_t cols : {1u, 127u, 128u, 200u, 513u}) {
      Grid x = Grid::random(numbers, type, 9, cols, false);
      for (uint32_t c = 0; c < cols; ++c) {
        x.set(0, c, 0.0);
        x.set(1, c, 1e-6 * numbers.normal());
        x.set(2, c, 1e20 * numbers.normal());
      }
      QuantGrid found = quantise(x);
      const reference::QuantBlocks wanted = reference::quantise_activations(x.values(), cols);
      const kernels::Codes view = found.view();
      EXPECT_EQ(found.scales, wanted.scales) << x.text();
      for (uint32_t r = 0; r < x.rows(); ++r) {
        for (uint32_t c = 0; c < view.stride; ++c) {
          const uint8_t code = view.codes[r * view.stride + c];
          const uint8_t expected = c < cols ? wanted.codes[size_t{r} * cols + c] : uint8_t{0};
          ASSERT_EQ(code, expected) << x.text() << ' ' << r << ", " << c;
        }
      }
    }
  }
}

TEST_F(LinearKernels, CodesMatchDoublePrecisionAndTilesAgree) {
  constexpr Size kSizes[] = {{1, 1, 1}, {3, 200, 40}, {70, 129, 130}, {20, 2200, 24}};
  Numbers numbers(6);
  for (const Size& size : kSizes) {
    for (const Type x_type : {Type::kBF16, Type::kF32}) {
      const Grid x = Grid::random(numbers, x_type, size.rows, size.in, false);
      const Grid w = Grid::random(numbers, Type::kF8E4M3, size.out, size.in, true, 0.1);
      QuantGrid codes = quantise(x);
      const Values rounded = reference::quantise_activations(x.values(), size.in).values();
      const Values expected = reference::linear(rounded, w.values(), size.in, size.out);
      const Values magnitude =
          reference::linear(absolute(rounded), absolute(w.values()), size.in, size.out);
      Grid first;
      for (const LinearTile tile : kTensorTiles) {
        const Grid y = linear(x, codes.view(), w, Type::kF32, tile);
        expect_product(y, expected, magnitude, size.in,
                       str(x.text(), " x ", w.text(), " codes, ", tile_name(tile)));
        if (tile == LinearTile::kStream) first = y;
        EXPECT_TRUE(y.same(first)) << x.text() << ' ' << tile_name(tile);
      }
    }
  }
}

}  // namespace
}  // namespace dsv3::linear_test
