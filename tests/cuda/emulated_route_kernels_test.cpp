// Does the router choose what spec §3.3 says? The kernel on the emulated GPU against a selection by
// sorting, with ties, groups, NaN and infinite logits; the combination against double precision.
#include <algorithm>
#include <cmath>
#include <limits>

#include "cuda/row_fixture.h"
#include "kernels/route.h"

namespace dsv3::row_test {
namespace {

using kernels::RouterDims;
using kernels::Type;
using RouteKernelsTest = RowKernels;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Indices in descending order of value, lower index first.
std::vector<uint32_t> ranking(const std::vector<float>& values) {
  std::vector<uint32_t> order(values.size());
  for (uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return values[a] > values[b]; });
  return order;
}

struct Routed {
  std::vector<int32_t> ids;
  std::vector<float> weights;
  uint32_t nans = 0;
};

Routed route_by_sorting(const RouterDims& shape, const float* logits, const float* bias) {
  Routed routed;
  std::vector<float> scores;
  std::vector<float> choice;
  for (uint32_t e = 0; e < shape.experts; ++e) {
    const bool nan = std::isnan(logits[e]);
    routed.nans += nan ? 1 : 0;
    scores.push_back(nan ? 0.0f : 1.0f / (1.0f + std::exp(-logits[e])));
    choice.push_back(nan ? -kInfinity : scores[e] + (bias != nullptr ? bias[e] : 0.0f));
  }
  const uint32_t size = shape.experts / shape.groups;
  if (shape.groups > 1) {
    std::vector<float> sums;
    for (uint32_t g = 0; g < shape.groups; ++g) {
      std::vector<float> group(choice.begin() + g * size, choice.begin() + (g + 1) * size);
      std::sort(group.begin(), group.end(), std::greater<>());
      sums.push_back(group[0] + group[1]);
    }
    const std::vector<uint32_t> order = ranking(sums);
    for (uint32_t i = shape.groups_kept; i < shape.groups; ++i) {
      std::fill_n(choice.begin() + order[i] * size, size, -kInfinity);
    }
  }
  const std::vector<uint32_t> order = ranking(choice);
  float sum = 0.0f;
  for (uint32_t k = 0; k < shape.experts_per_token; ++k) {
    routed.ids.push_back(static_cast<int32_t>(order[k]));
    routed.weights.push_back(scores[order[k]]);
    sum += scores[order[k]];
  }
  for (float& weight : routed.weights) {
    weight = (shape.normalise ? weight / (sum + 1e-20f) : weight) * shape.scaling;
  }
  return routed;
}

// Half of the rows in coarse steps, so that scores tie; some logits NaN or infinite.
std::vector<float> router_logits(Numbers& numbers, uint32_t rows, uint32_t experts) {
  std::vector<float> logits;
  for (uint32_t row = 0; row < rows; ++row) {
    for (uint32_t e = 0; e < experts; ++e) {
      const double value = 2.0 * numbers.normal();
      logits.push_back(static_cast<float>(row % 2 == 0 ? value : std::round(value)));
      if (row % 5 == 4 && numbers.below(4) == 0) {
        const float odd[] = {std::numeric_limits<float>::quiet_NaN(), kInfinity, -kInfinity, -0.0f};
        logits.back() = odd[numbers.below(4)];
      }
      if (row % 31 == 30) logits.back() = std::numeric_limits<float>::quiet_NaN();
    }
  }
  return logits;
}

TEST_F(RouteKernelsTest, ChoosesAsSortingDoes) {
  Numbers numbers(11);
  const RouterDims shapes[] = {{256, 8, 8, 4, true, 2.5f},  {384, 8, 1, 1, true, 2.827f},
                               {64, 6, 1, 1, false, 1.0f},  {6, 6, 3, 2, true, 1.0f},
                               {1, 1, 1, 1, true, 1.0f},    {130, 3, 65, 2, true, 3.0f},
                               {5000, 9, 10, 3, true, 1.0f}};
  for (const RouterDims& shape : shapes) {
    const uint32_t rows = shape.experts > 1000 ? 7 : 125;
    const uint32_t slots = shape.experts_per_token;
    const std::vector<float> logits = router_logits(numbers, rows, shape.experts);
    std::vector<float> biases;
    for (uint32_t e = 0; e < shape.experts; ++e) {
      biases.push_back(static_cast<float>(std::round(2.0 * numbers.normal()) / 4.0));
    }
    for (const float* bias : {static_cast<const float*>(biases.data()), (const float*)nullptr}) {
      std::vector<int32_t> ids(rows * slots, -7);
      std::vector<float> weights(rows * slots, -7.0f);
      std::vector<uint64_t> expert_tokens(shape.experts, 1000);
      uint32_t nan_count = 10;
      finish(kernels::launch_route_any({shape, rows, logits.data(), bias, ids.data(),
                                        weights.data(), expert_tokens.data(), &nan_count},
                                       stream_));
      uint32_t nans = 10;
      std::vector<uint64_t> tokens(shape.experts, 1000);
      for (uint32_t row = 0; row < rows; ++row) {
        const Routed wanted = route_by_sorting(shape, logits.data() + row * shape.experts, bias);
        nans += wanted.nans;
        for (uint32_t k = 0; k < slots; ++k) {
          ASSERT_EQ(ids[row * slots + k], wanted.ids[k])
              << shape.experts << " experts, row " << row << ", " << k;
          ASSERT_EQ(weights[row * slots + k], wanted.weights[k])
              << shape.experts << " experts, row " << row << ", " << k;
          ++tokens[static_cast<size_t>(wanted.ids[k])];
        }
      }
      EXPECT_EQ(expert_tokens, tokens);
      EXPECT_EQ(nan_count, nans);
      finish(kernels::launch_route_any(
          {shape, rows, logits.data(), bias, ids.data(), weights.data(), nullptr, nullptr},
          stream_));
    }
  }
}

TEST_F(RouteKernelsTest, CombineAddsInOrderAndRoundsOnce) {
  Numbers numbers(12);
  constexpr uint32_t kRows = 5;
  for (const uint32_t cols : {8u, 27u, 130u, 2600u}) {
    for (const Type act : {Type::kBF16, Type::kF32}) {
      for (const uint32_t slots : {1u, 8u}) {
        const Grid y = Grid::random(numbers, Grid(act, kRows * slots, cols, cols + 5));
        const Grid shared = Grid::random(numbers, Grid(act, kRows, cols, cols, 1));
        std::vector<float> weights;
        for (uint32_t i = 0; i < kRows * slots; ++i) {
          weights.push_back(static_cast<float>(numbers.uniform()));
        }
        for (const bool has_shared : {false, true}) {
          Grid out(act, kRows, cols, cols + 8);
          finish(kernels::launch_expert_combine_any(
              {y.view(), weights.data(), slots, has_shared ? shared.view() : kernels::ConstMatrix{},
               out.view()},
              stream_));
          for (uint32_t r = 0; r < kRows; ++r) {
            for (uint32_t c = 0; c < cols; ++c) {
              double wanted = has_shared ? static_cast<double>(shared.get(r, c)) : 0.0;
              double size = std::fabs(wanted);
              for (uint32_t k = 0; k < slots; ++k) {
                const double term = static_cast<double>(weights[r * slots + k]) *
                                    static_cast<double>(y.get(r * slots + k, c));
                wanted += term;
                size += std::fabs(term);
              }
              const double rounding = act == Type::kBF16 ? 0x1p-8 * std::fabs(wanted) : 0.0;
              ASSERT_NEAR(static_cast<double>(out.get(r, c)), wanted,
                          rounding * 1.001 + (slots + 2) * 0x1p-24 * size)
                  << cols << ": " << r << ", " << c;
            }
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace dsv3::row_test
