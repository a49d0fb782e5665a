// Goal: messages join their parts exactly and defects become INTERNAL errors. Method: expected
// strings.
#include "base/error.h"

#include <limits>

#include "base/checked.h"
#include "support/expect_error.h"

namespace dsv3 {
namespace {

TEST(Error, JoinsPartsOfEveryType) {
  EXPECT_EQ(str("a", std::string("b"), std::string_view("c"), 'd', -1, 2u, int64_t{-3}, uint64_t{4},
                uint8_t{5}, true, 0.5f, 1e300),
            "abcd-12-345true0.51e+300");
  EXPECT_EQ(str(std::numeric_limits<uint64_t>::max(), std::numeric_limits<int64_t>::min()),
            "18446744073709551615-9223372036854775808");
}

TEST(Error, AssertNamesTheFileWithoutItsFolder) {
  EXPECT_TRUE(
      throws_error(Status::kInternal, {"1 == 2", " error_test.cpp:"}, [] { DSV3_ASSERT(1 == 2); }));
}

TEST(Checked, FindsOverflowAtTheEdges) {
  constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();
  EXPECT_EQ(checked_add(kMax - 1, uint64_t{1}), kMax);
  EXPECT_FALSE(checked_add(kMax, uint64_t{1}));
  EXPECT_EQ(checked_mul(kMax / 3, uint64_t{3}), kMax);
  EXPECT_FALSE(checked_mul(kMax / 3 + 1, uint64_t{3}));
  EXPECT_FALSE(checked_mul(std::numeric_limits<int64_t>::min(), int64_t{-1}));
  EXPECT_TRUE(throws_error(Status::kLimit, {"rows: ", " * 2"},
                           [] { mul_or_fail(kMax, uint64_t{2}, "rows"); }));
  EXPECT_TRUE(throws_error(Status::kLimit, {"bytes: ", " + 1"},
                           [] { add_or_fail(kMax, uint64_t{1}, "bytes"); }));
  EXPECT_EQ((narrow<uint8_t>(255, "x")), 255);
  EXPECT_TRUE(throws_error(Status::kLimit, {"x: 256"}, [] { narrow<uint8_t>(256, "x"); }));
  EXPECT_TRUE(throws_error(Status::kLimit, {"x: -1"}, [] { narrow<uint64_t>(-1, "x"); }));
}

TEST(Checked, RoundsUp) {
  EXPECT_EQ(ceil_div(0u, 128u), 0u);
  EXPECT_EQ(ceil_div(128u, 128u), 1u);
  EXPECT_EQ(ceil_div(129u, 128u), 2u);
  EXPECT_EQ(align_up(0, 64), 0u);
  EXPECT_EQ(align_up(1, 64), 64u);
  EXPECT_EQ(align_up(64, 64), 64u);
}

}  // namespace
}  // namespace dsv3
