// Tokens between passes: what a batch brings and what an earlier pass drew end up in batch and
// history alike; and views of quantised rows that an Ops cannot take are refused. Small cases whose
// answers are written out.
#include <gtest/gtest.h>

#include <vector>

#include "ops/ops_fixture.h"

namespace dsv3::ops_test {
namespace {

class TokensConformance : public Conformance {};

TEST_P(TokensConformance, TokensAndHistoryAgree) {
  constexpr uint32_t kStride = 5;
  // Slot 0 brings a prompt; slot 2 goes on with a drawn token and brings the next; slot 1 rests.
  std::vector<int32_t> tokens = {7, 8, -1, 9};
  const std::vector<uint32_t> slots = {0, 0, 2, 2};
  const std::vector<uint32_t> positions = {0, 1, 3, 4};
  std::vector<int32_t> history(3 * kStride, 55);
  history[2 * kStride + 3] = 42;
  history[2 * kStride + 4] = 41;
  ops_.take_tokens({.rows = 4,
                    .tokens = tokens.data(),
                    .slots = slots.data(),
                    .positions = positions.data(),
                    .history = history.data(),
                    .stride = kStride});
  EXPECT_EQ(tokens, (std::vector<int32_t>{7, 8, 42, 9}));
  EXPECT_EQ(history, (std::vector<int32_t>{7, 8, 55, 55, 55,    //
                                           55, 55, 55, 55, 55,  //
                                           55, 55, 55, 42, 9}));
}

TEST_P(TokensConformance, RefusesWhatIsNotThere) {
  std::vector<int32_t> tokens = {1};
  const std::vector<uint32_t> numbers = {0};
  const TakeTokensArgs good{.rows = 1,
                            .tokens = tokens.data(),
                            .slots = numbers.data(),
                            .positions = numbers.data(),
                            .history = tokens.data(),
                            .stride = 1};
  ops_.take_tokens(good);
  ops_.take_tokens({});  // no rows, nothing needed
  const auto refuse = [&](const char* argument, const auto& change) {
    TakeTokensArgs args = good;
    change(args);
    expect_refused([&] { ops_.take_tokens(args); }, "take_tokens", argument);
  };
  refuse("tokens is null", [](TakeTokensArgs& a) { a.tokens = nullptr; });
  refuse("slots is null", [](TakeTokensArgs& a) { a.slots = nullptr; });
  refuse("positions is null", [](TakeTokensArgs& a) { a.positions = nullptr; });
  refuse("history is null", [](TakeTokensArgs& a) { a.history = nullptr; });
  refuse("stride is 0", [](TakeTokensArgs& a) { a.stride = 0; });
}

TEST_P(TokensConformance, RefusesCodesThatDoNotFit) {
  const Matrix x(DType::kBF16, 2, 130);
  const Matrix w(DType::kBF16, 3, 130);
  Matrix y(DType::kBF16, 2, 3);
  std::vector<uint8_t> codes(2 * 256);
  std::vector<float> scales(4);
  const QuantRows good{codes.data(), scales.data(), 256, 2};
  const auto refuse = [&](const char* what, QuantRows wrong) {
    expect_refused(
        [&] {
          ops_.linear({.x = x.rows(), .x_codes = wrong, .weight = w.weight(), .y = y.rows()});
        },
        "linear", what);
  };
  if (!ops_.wants_codes()) {
    refuse("x_codes is present, wanted none", good);
    return;
  }
  refuse("x_codes is without scales", {codes.data(), nullptr, 256, 2});
  refuse("x_codes is of row stride 130, wanted 256", {codes.data(), scales.data(), 130, 2});
  refuse("x_codes is of scale stride 1", {codes.data(), scales.data(), 256, 1});
}

INSTANTIATE_TEST_SUITE_P(AllOps, TokensConformance, ::testing::ValuesIn(all_ops()), ops_name);

}  // namespace
}  // namespace dsv3::ops_test
