// Goal: shapes count, compare and print exactly. Method: small cases and the 64-bit edge.
#include "base/view.h"

#include "support/expect_error.h"

namespace dsv3 {
namespace {

TEST(Shape, CountsComparesAndPrints) {
  EXPECT_EQ(Shape{}.elements(), 1u);
  EXPECT_EQ(Shape{}.text(), "[]");
  EXPECT_EQ((Shape{576, 7168}.elements()), 576u * 7168u);
  EXPECT_EQ((Shape{576, 7168}.text()), "[576, 7168]");
  EXPECT_EQ((Shape{3, 0}.elements()), 0u);
  EXPECT_TRUE((Shape{2, 3} == Shape{2, 3}));
  EXPECT_FALSE((Shape{2, 3} == Shape{3, 2}));
  EXPECT_FALSE((Shape{2, 3} == Shape{2, 3, 1}));
}

TEST(Shape, RefusesProductsOver64Bits) {
  const Shape shape{uint64_t{1} << 32, uint64_t{1} << 32};
  EXPECT_TRUE(throws_error(Status::kLimit, {"elements of a shape"}, [&] { shape.elements(); }));
  EXPECT_TRUE(throws_error(Status::kInternal, {"kRankMax"}, [] { Shape{1, 1, 1, 1, 1}; }));
}

}  // namespace
}  // namespace dsv3
