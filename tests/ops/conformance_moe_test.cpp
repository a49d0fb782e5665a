// Do router and experts give what the oracle gives? Exact logits through an identity gate for ties,
// groups and NaN; random ones for the rest; experts of every dtype against double loops.
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "ops/quant_fixture.h"

namespace dsv3::ops_test {
namespace {

using MoeConformance = Conformance;
INSTANTIATE_TEST_SUITE_P(All, MoeConformance, ::testing::ValuesIn(all_ops()), ops_name);

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Routed {
  std::vector<int32_t> ids;
  std::vector<float> weights;
  std::vector<uint64_t> tokens;
  uint32_t nan_count = 0;
};

Routed run_route(Ops& ops, const RouterShape& shape, const Matrix& x, const Matrix& gate,
                 const std::vector<float>& bias) {
  Routed out;
  const size_t slots = size_t{x.row_count()} * shape.experts_per_token;
  out.ids.resize(slots, -7);
  out.weights.resize(slots);
  out.tokens.resize(shape.experts, 100);
  ops.route({.shape = shape,
             .x = x.rows(),
             .gate = gate.weight(),
             .bias = bias.empty() ? nullptr : bias.data(),
             .ids = out.ids.data(),
             .weights = out.weights.data(),
             .expert_tokens = out.tokens.data(),
             .nan_count = &out.nan_count});
  return out;
}

// Logits are the rows of x themselves.
Routed route_logits(Ops& ops, const RouterShape& shape, const std::vector<Values>& logits,
                    const std::vector<float>& bias) {
  Matrix x(DType::kF32, static_cast<uint32_t>(logits.size()), shape.experts);
  Matrix gate(DType::kBF16, shape.experts, shape.experts);
  for (uint32_t e = 0; e < shape.experts; ++e) gate.set(e, e, 1.0);
  for (uint32_t r = 0; r < logits.size(); ++r) {
    for (uint32_t e = 0; e < shape.experts; ++e) x.set(r, e, logits[r][e]);
  }
  return run_route(ops, shape, x, gate, bias);
}

reference::Routing oracle(const Values& logits, const std::vector<float>& bias,
                          const RouterShape& shape) {
  Values wide(shape.experts, 0.0);
  std::copy(bias.begin(), bias.end(), wide.begin());
  return reference::route(logits, wide,
                          {.experts = shape.experts,
                           .top_k = shape.experts_per_token,
                           .groups = shape.groups,
                           .topk_groups = shape.groups_kept,
                           .norm_topk = shape.normalise,
                           .scaling = static_cast<double>(shape.scaling)});
}

TEST_P(MoeConformance, RandomRoutesMatchTheOracle) {
  Random random(21);
  const RouterShape shapes[] = {{2, 1, 1, 1, true, 1.0f},     {8, 8, 4, 4, true, 2.5f},
                                {256, 8, 8, 4, true, 2.5f},   {384, 8, 1, 1, true, 2.827f},
                                {64, 6, 1, 1, false, 2.446f}, {384, 384, 1, 1, true, 1.0f},
                                {12, 3, 6, 2, true, 1.5f},    {9, 4, 3, 1, true, 1.0f}};
  for (const RouterShape& shape : shapes) {
    for (const double centre : {0.0, -0.6, 3.0}) {
      const Matrix x = Matrix::random(random, DType::kBF16, 20, 65);
      const Matrix gate = Matrix::random(random, DType::kBF16, shape.experts, 65, 0.2);
      std::vector<float> bias;
      for (uint32_t e = 0; e < shape.experts; ++e) {
        bias.push_back(static_cast<float>(centre + 0.3 * random.normal()));
      }
      const Routed got = run_route(ops_, shape, x, gate, bias);
      const Values logits = reference::linear(x.values(), gate.values(), 65, shape.experts);
      const uint32_t slots = shape.experts_per_token;
      for (uint32_t r = 0; r < 20; ++r) {
        const Values row(logits.begin() + r * shape.experts,
                         logits.begin() + (r + 1) * shape.experts);
        const auto wanted = oracle(row, bias, shape);
        // FP32 scores and biases up to about 4 are off by some 1e-6; a wider margin must agree.
        if (wanted.margin < 4e-6) continue;
        std::vector<int32_t> sorted_got(got.ids.begin() + r * slots,
                                        got.ids.begin() + (r + 1) * slots);
        std::vector<int32_t> sorted_wanted = wanted.experts;
        std::sort(sorted_got.begin(), sorted_got.end());
        std::sort(sorted_wanted.begin(), sorted_wanted.end());
        EXPECT_EQ(sorted_got, sorted_wanted) << "row " << r << " of " << shape.experts;
        for (uint32_t k = 0; k < slots; ++k) {
          const auto at =
              std::find(wanted.experts.begin(), wanted.experts.end(), got.ids[r * slots + k]);
          if (at == wanted.experts.end()) continue;
          const double weight = wanted.weights[static_cast<size_t>(at - wanted.experts.begin())];
          EXPECT_NEAR(static_cast<double>(got.weights[r * slots + k]), weight,
                      1e-5 * weight + 1e-30);
        }
      }
      uint64_t total = 0;
      for (uint32_t e = 0; e < shape.experts; ++e) {
        const auto chosen = static_cast<uint64_t>(
            std::count(got.ids.begin(), got.ids.end(), static_cast<int32_t>(e)));
        EXPECT_EQ(got.tokens[e], 100 + chosen) << "expert " << e;
        total += got.tokens[e] - 100;
      }
      EXPECT_EQ(total, 20u * slots);
      EXPECT_EQ(got.nan_count, 0u);
    }
  }
}

TEST_P(MoeConformance, TiesGoToTheLowerIndexForGroupsAndExperts) {
  const RouterShape flat{8, 3, 1, 1, true, 1.0f};
  EXPECT_EQ(route_logits(ops_, flat, {Values(8, 0.5)}, {}).ids, (std::vector<int32_t>{0, 1, 2}));
  // FP32 sigmoids of 30 and of 40 are both 1.
  EXPECT_EQ(route_logits(ops_, flat, {{0, 40, 0, 30, 1, 0, 40, 0}}, {}).ids,
            (std::vector<int32_t>{1, 3, 6}));
  const RouterShape grouped{8, 2, 4, 2, true, 1.0f};
  EXPECT_EQ(route_logits(ops_, grouped, {Values(8, -1.0)}, {}).ids, (std::vector<int32_t>{0, 1}));
  // Groups 1 and 3 tie below group 2: 1 is kept.
  const Routed kept = route_logits(ops_, grouped, {{0, 0, 2, 1, 3, 3, 1, 2}}, {});
  EXPECT_EQ(kept.ids, (std::vector<int32_t>{4, 5}));
  const RouterShape three{8, 3, 4, 2, true, 1.0f};
  EXPECT_EQ(route_logits(ops_, three, {{0, 0, 2, 1, 3, 3, 1, 2}}, {}).ids,
            (std::vector<int32_t>{4, 5, 2}));
}

// Trap T22 (two best, not the best one) and T23 (-inf, not 0) with negative biases.
TEST_P(MoeConformance, GroupsAreChosenByTheirTwoBestAndMaskedByMinusInfinity) {
  const RouterShape shape{6, 3, 3, 1, true, 1.0f};
  const std::vector<float> bias = {-2.0f, -2.0f, -2.0f, -2.0f, -2.0f, -2.0f};
  const RouterShape two{6, 2, 3, 1, true, 1.0f};
  EXPECT_EQ(route_logits(ops_, two, {{9, -9, 1, 1, 0, 0}}, bias).ids, (std::vector<int32_t>{2, 3}));
  // Three of a kept group of two: the lowest index of the dropped ones follows.
  const Routed got = route_logits(ops_, shape, {{9, -9, 1, 1, 0, 0}}, bias);
  EXPECT_EQ(got.ids, (std::vector<int32_t>{2, 3, 0}));
}

TEST_P(MoeConformance, NanLogitsAreCountedAndNeverPreferred) {
  const RouterShape shape{6, 2, 1, 1, true, 2.0f};
  const Values all(6, kNan);
  // The identity gate multiplies NaN by zero: one NaN makes its whole row NaN.
  const Routed got = route_logits(ops_, shape, {{1, 2, 3, 4, 5, 6}, all, {6, 5, 4, 3, 2, 1}}, {});
  EXPECT_EQ(got.nan_count, 6u);
  EXPECT_EQ(got.ids, (std::vector<int32_t>{5, 4, 0, 1, 0, 1}));
  EXPECT_EQ(got.weights[2], 0.0f);
  EXPECT_EQ(got.weights[3], 0.0f);
  // One bad gate row: that expert only.
  Matrix x(DType::kBF16, 1, 4);
  for (uint32_t c = 0; c < 4; ++c) x.set(0, c, 1.0);
  Matrix gate(DType::kBF16, 6, 4);
  gate.set(1, 0, kNan);
  gate.set(4, 2, -3.0);
  const Routed one = run_route(ops_, {6, 5, 1, 1, true, 1.0f}, x, gate, {});
  EXPECT_EQ(one.nan_count, 1u);
  EXPECT_EQ(one.ids, (std::vector<int32_t>{0, 2, 3, 5, 4}));
}

// Trap T24: sigmoids that vanish beside their bias, and a sum of zero.
TEST_P(MoeConformance, TinyScoresKeepTheirWeight) {
  const RouterShape shape{4, 2, 1, 1, true, 1.0f};
  const std::vector<float> bias = {12.0f, 13.0f, 0.0f, 0.0f};
  const Routed got = route_logits(ops_, shape, {{-18, -19, 2, 2}, {-200, -200, -200, -200}}, bias);
  EXPECT_EQ(got.ids[0], 1);
  EXPECT_EQ(got.ids[1], 0);
  const double s0 = 1.0 / (1.0 + std::exp(18.0));
  const double s1 = 1.0 / (1.0 + std::exp(19.0));
  EXPECT_NEAR(static_cast<double>(got.weights[0]), s1 / (s0 + s1), 1e-6);
  EXPECT_NEAR(static_cast<double>(got.weights[1]), s0 / (s0 + s1), 1e-6);
  EXPECT_EQ(got.weights[2], 0.0f);
  const Routed infinite = route_logits(ops_, {2, 1, 1, 1, true, 1.0f}, {{-kInfinity, 0}}, {});
  EXPECT_EQ(infinite.nan_count, 1u) << "infinity times zero in the other gate row";
  EXPECT_EQ(infinite.ids[0], 0) << "of two choices of -inf and 0, the score 0 of -inf";
}

struct ExpertCase {
  uint32_t tokens, slots, experts, hidden, width;
};

struct ExpertFormats {
  DType gate, up, down;
};

class Experts {
 public:
  Experts(Random& random, const ExpertFormats& formats, const ExpertCase& of) {
    for (uint32_t e = 0; e < of.experts; ++e) {
      gate.push_back(Matrix::random(random, formats.gate, of.width, of.hidden, 0.2));
      up.push_back(Matrix::random(random, formats.up, of.width, of.hidden, 0.2));
      down.push_back(Matrix::random(random, formats.down, of.hidden, of.width, 0.2));
    }
    for (uint32_t e = 0; e < of.experts; ++e) {
      weights.push_back({gate[e].weight(), up[e].weight(), down[e].weight()});
    }
  }
  std::vector<Matrix> gate, up, down;
  std::vector<ExpertWeights> weights;
};

// A product in one row's steps: its exact result and how far the op's may be, rounded to act.
struct Product {
  Product(const Values& x, const Matrix& w, const OpsParam& param, DType act) {
    const Values in = multiplied(x, w.cols(), w.dtype(), param.quant);
    exact = reference::linear(in, w.values(), w.cols(), w.row_count());
    error = product_bound(in, w, param);
    for (size_t i = 0; i < error.size(); ++i) {
      error[i] += round_of(act) * (std::fabs(exact[i]) + error[i]);
    }
  }
  Values exact;
  Values error;
};

// silu's slope stays below 1.1, so an error of g moves silu(g) by at most 1.1 of it.
Values swiglu_bound(const Product& gate, const Product& up, const Values& expected, DType act) {
  Values bound;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double g = std::fabs(gate.exact[i]);
    const double u = std::fabs(up.exact[i]);
    const double s = g / (1.0 + std::exp(-gate.exact[i]));
    const double before = 1.1 * gate.error[i] * (u + up.error[i]) + s * up.error[i] +
                          (16.0 + g) * kRoundF32 * (s * u + gate.error[i]);
    bound.push_back(before + round_of(act) * (std::fabs(expected[i]) + before) + 1e-36);
  }
  return bound;
}

void check_experts(Ops& ops, const OpsParam& param, Random& random, const ExpertCase& of,
                   const ExpertFormats& formats, DType act) {
  const Experts experts(random, formats, of);
  const Matrix x = Matrix::random(random, act, of.tokens, of.hidden);
  std::vector<int32_t> ids;
  for (uint32_t i = 0; i < of.tokens * of.slots; ++i) {
    ids.push_back(static_cast<int32_t>(random.below(of.experts)));
  }
  Matrix hidden(act, of.tokens * of.slots, of.width);
  ops.expert_gate_up({.x = x.rows(),
                      .ids = ids.data(),
                      .experts_per_token = of.slots,
                      .experts = experts.weights.data(),
                      .expert_count = of.experts,
                      .hidden = hidden.rows()});
  Matrix y(act, of.tokens * of.slots, of.hidden);
  ops.expert_down({.hidden = hidden.rows(),
                   .ids = ids.data(),
                   .experts_per_token = of.slots,
                   .experts = experts.weights.data(),
                   .expert_count = of.experts,
                   .y = y.rows()});
  for (uint32_t i = 0; i < ids.size(); ++i) {
    const auto e = static_cast<size_t>(ids[i]);
    const Values row = x.row_values(i / of.slots);
    const Product gate(row, experts.gate[e], param, act);
    const Product up(row, experts.up[e], param, act);
    const Values wanted = reference::swiglu(gate.exact, up.exact);
    expect_close(hidden.row_values(i), wanted, swiglu_bound(gate, up, wanted, act),
                 str("hidden ", i, " of expert ", ids[i]));
    // The second product against its own input.
    const Product down(hidden.row_values(i), experts.down[e], param, act);
    expect_close(y.row_values(i), down.exact, down.error, str("y ", i));
  }
}

TEST_P(MoeConformance, ExpertsMatchTheOracle) {
  Random random(22);
  const ExpertCase cases[] = {
      {1, 1, 1, 1, 1}, {3, 2, 5, 129, 33}, {70, 3, 4, 40, 72}, {5, 1, 2, 300, 136}};
  for (const ExpertCase& of : cases) {
    for (const DType format : {DType::kBF16, DType::kF16, DType::kF32, DType::kF8E4M3}) {
      for (const DType act : {DType::kBF16, DType::kF32}) {
        check_experts(ops_, GetParam(), random, of, {format, format, format}, act);
      }
    }
  }
}

// A checkpoint may quantise some weights of an expert and not others (spec §4.6).
TEST_P(MoeConformance, ExpertsOfMixedFormatsMatchTheOracle) {
  Random random(25);
  constexpr DType kF8 = DType::kF8E4M3;
  const ExpertFormats mixed[] = {{kF8, DType::kBF16, DType::kBF16},
                                 {DType::kBF16, kF8, DType::kF32},
                                 {DType::kF32, DType::kBF16, kF8}};
  for (const ExpertFormats& formats : mixed) {
    for (const DType act : {DType::kBF16, DType::kF32}) {
      check_experts(ops_, GetParam(), random, {35, 2, 3, 200, 72}, formats, act);
    }
  }
}

// The shared expert beside the routed ones gives the bits of a routed expert with its weights,
// which the tests above hold against the oracle; the routed ones give the bits they give without
// it.
TEST_P(MoeConformance, TheSharedExpertIsOneMoreWithEveryRow) {
  if (!ops_.takes_shared_expert()) GTEST_SKIP() << "takes the routed experts alone";
  Random random(26);
  const DType formats[][3] = {{DType::kBF16, DType::kBF16, DType::kBF16},
                              {DType::kF8E4M3, DType::kF8E4M3, DType::kF8E4M3},
                              {DType::kF32, DType::kF8E4M3, DType::kBF16}};
  for (const auto& [gate, up, down] : formats) {
    for (const DType act : {DType::kBF16, DType::kF32}) {
      for (const uint32_t tokens : {1u, 7u, 140u}) {
        const Experts routed(random, {gate, up, down}, {tokens, 2, 3, 200, 72});
        const Experts shared(random, {gate, up, down}, {tokens, 1, 1, 200, 152});
        const Matrix x = Matrix::random(random, act, tokens, 200);
        std::vector<int32_t> ids;
        for (uint32_t i = 0; i < 2 * tokens; ++i) {
          ids.push_back(static_cast<int32_t>(random.below(3)));
        }
        const std::vector<int32_t> all_one(tokens, 0);
        struct Outputs {
          Matrix hidden, y;
        };
        const auto outputs = [&](uint32_t rows, uint32_t width) {
          return Outputs{Matrix(act, rows, width), Matrix(act, rows, 200)};
        };
        const auto run = [&](const Experts& of, const std::vector<int32_t>& chosen, Outputs& out,
                             const ExpertWeights* beside, Outputs* out_beside) {
          const auto slots = static_cast<uint32_t>(chosen.size()) / tokens;
          const auto count = static_cast<uint32_t>(of.weights.size());
          ops_.expert_gate_up({.x = x.rows(),
                               .ids = chosen.data(),
                               .experts_per_token = slots,
                               .experts = of.weights.data(),
                               .expert_count = count,
                               .hidden = out.hidden.rows(),
                               .shared = beside,
                               .shared_hidden = beside ? out_beside->hidden.rows() : Rows()});
          ops_.expert_down(
              {.hidden = out.hidden.rows(),
               .ids = chosen.data(),
               .experts_per_token = slots,
               .experts = of.weights.data(),
               .expert_count = count,
               .y = out.y.rows(),
               .shared = beside,
               .shared_hidden = beside ? ConstRows(out_beside->hidden.rows()) : ConstRows(),
               .shared_y = beside ? out_beside->y.rows() : Rows()});
        };
        Outputs routed_alone = outputs(2 * tokens, 72);
        Outputs routed_beside = outputs(2 * tokens, 72);
        Outputs shared_alone = outputs(tokens, 152);
        Outputs shared_beside = outputs(tokens, 152);
        run(routed, ids, routed_alone, nullptr, nullptr);
        run(shared, all_one, shared_alone, nullptr, nullptr);
        run(routed, ids, routed_beside, shared.weights.data(), &shared_beside);
        EXPECT_TRUE(routed_beside.hidden.same_bits(routed_alone.hidden)) << tokens;
        EXPECT_TRUE(routed_beside.y.same_bits(routed_alone.y)) << tokens;
        EXPECT_TRUE(shared_beside.hidden.same_bits(shared_alone.hidden)) << tokens;
        EXPECT_TRUE(shared_beside.y.same_bits(shared_alone.y)) << tokens;
      }
    }
  }
}

TEST_P(MoeConformance, CombineWeighsRoundsOnceAndAddsTheSharedExpertUnscaled) {
  Random random(23);
  for (const DType act : {DType::kBF16, DType::kF32}) {
    for (const uint32_t slots : {1u, 6u, 8u}) {
      const Matrix y = Matrix::random(random, act, 5 * slots, 203);
      const Matrix shared = Matrix::random(random, act, 5, 203);
      std::vector<float> weights;
      for (uint32_t i = 0; i < 5 * slots; ++i)
        weights.push_back(static_cast<float>(random.uniform()));
      for (const bool with_shared : {true, false}) {
        Matrix out(act, 5, 203);
        ops_.expert_combine({.y = y.rows(),
                             .weights = weights.data(),
                             .experts_per_token = slots,
                             .shared = with_shared ? std::as_const(shared).rows() : ConstRows(),
                             .out = out.rows()});
        Values expected;
        Values bound;
        for (uint32_t r = 0; r < 5; ++r) {
          for (uint32_t c = 0; c < 203; ++c) {
            double sum = with_shared ? shared.get(r, c) : 0.0;
            double absolute_sum = std::fabs(sum);
            for (uint32_t k = 0; k < slots; ++k) {
              const double term =
                  static_cast<double>(weights[r * slots + k]) * y.get(r * slots + k, c);
              sum += term;
              absolute_sum += std::fabs(term);
            }
            const double error = (slots + 3.0) * kRoundF32 * absolute_sum;
            expected.push_back(sum);
            bound.push_back(error + round_of(act) * (std::fabs(sum) + error) + 1e-38);
          }
        }
        expect_close(out.values(), expected, bound, "combine");
      }
    }
  }
}

TEST_P(MoeConformance, RefusesIdsAndShapesThatDoNotFit) {
  Random random(24);
  const ExpertCase of{2, 2, 3, 16, 8};
  const Experts experts(random, {DType::kBF16, DType::kBF16, DType::kBF16}, of);
  const Matrix x(DType::kBF16, 2, 16);
  Matrix hidden(DType::kBF16, 4, 8);
  for (const int32_t bad : {3, -1}) {
    const std::vector<int32_t> ids = {0, 1, bad, 2};
    expect_contents_refused(
        [&] {
          ops_.expert_gate_up({.x = x.rows(),
                               .ids = ids.data(),
                               .experts_per_token = 2,
                               .experts = experts.weights.data(),
                               .expert_count = 3,
                               .hidden = hidden.rows()});
        },
        "expert_gate_up", "ids[2]");
  }
  const auto refuse = [&](const char* argument, RouterShape shape) {
    std::vector<int32_t> ids(64);
    std::vector<float> weights(64);
    const Matrix gate(DType::kBF16, shape.experts == 0 ? 1 : shape.experts, 16);
    expect_refused(
        [&] {
          ops_.route({.shape = shape,
                      .x = x.rows(),
                      .gate = gate.weight(),
                      .bias = nullptr,
                      .ids = ids.data(),
                      .weights = weights.data(),
                      .expert_tokens = nullptr,
                      .nan_count = nullptr});
        },
        "route", argument);
  };
  refuse("experts_per_token is 9", {8, 9, 1, 1, true, 1.0f});
  refuse("experts_per_token is 0", {8, 0, 1, 1, true, 1.0f});
  refuse("groups is 3", {8, 2, 3, 1, true, 1.0f});
  refuse("groups is 8", {8, 2, 8, 1, true, 1.0f});
  refuse("groups_kept is 5", {8, 2, 4, 5, true, 1.0f});
  refuse("experts_max", {385, 2, 1, 1, true, 1.0f});
}

}  // namespace
}  // namespace dsv3::ops_test
