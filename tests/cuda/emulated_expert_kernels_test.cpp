// Do routed experts compute what their weights would compute one by one? Grouping against a stable
// sort; each row of the grouped kernels, on the emulated GPU, against the linear of that row and
// that expert alone, bit by bit.
#include <algorithm>

#include "cuda/linear_fixture.h"

namespace dsv3::linear_test {
namespace {

using kernels::ExpertJob;
using kernels::ExpertMatrices;
using kernels::ExpertPart;

constexpr LinearTile kTiles[] = {LinearTile::kStream, LinearTile::kSmall, LinearTile::kLarge};

struct Groups {
  std::vector<uint32_t> order;
  std::vector<ExpertJob> jobs;
};

class ExpertKernels : public LinearKernels {
 protected:
  Groups group(const std::vector<int32_t>& ids, uint32_t experts, uint32_t tile_pairs) {
    const auto pairs = static_cast<uint32_t>(ids.size());
    Groups groups;
    groups.order.assign(pairs, ~0u);
    groups.jobs.assign(kernels::expert_jobs_max(pairs, experts, tile_pairs), {9999, 9999, 9999});
    finish(
        kernels::launch_expert_group_any({.ids = ids.data(),
                                          .pairs = pairs,
                                          .expert_count = experts,
                                          .tile_pairs = tile_pairs,
                                          .order = groups.order.data(),
                                          .jobs = groups.jobs.data(),
                                          .job_count = static_cast<uint32_t>(groups.jobs.size())},
                                         stream_));
    return groups;
  }
};

std::vector<int32_t> random_ids(Numbers& numbers, uint32_t tokens, uint32_t slots,
                                uint32_t experts) {
  std::vector<int32_t> ids;
  for (uint32_t t = 0; t < tokens; ++t) {
    std::vector<int32_t> free(experts);
    for (uint32_t e = 0; e < experts; ++e) free[e] = static_cast<int32_t>(e);
    for (uint32_t k = 0; k < slots; ++k) {
      // Low numbers more often, so that some experts are busy.
      const uint32_t left = experts - k;
      const uint32_t at = std::min(numbers.below(left), numbers.below(left));
      ids.push_back(free[at]);
      free.erase(free.begin() + at);
    }
  }
  return ids;
}

TEST_F(ExpertKernels, GroupsAreAStableSortCutIntoPieces) {
  struct Case {
    uint32_t tokens, slots, experts, tile_pairs;
  };
  constexpr Case kCases[] = {{1, 1, 1, 8},   {2, 3, 4, 8},    {40, 8, 16, 8}, {40, 8, 257, 8},
                             {90, 6, 7, 64}, {300, 2, 5, 32}, {5, 8, 600, 32}};
  Numbers numbers(1);
  for (const Case& c : kCases) {
    const std::vector<int32_t> ids = random_ids(numbers, c.tokens, c.slots, c.experts);
    const Groups groups = group(ids, c.experts, c.tile_pairs);
    std::vector<uint32_t> wanted(ids.size());
    for (uint32_t i = 0; i < wanted.size(); ++i) wanted[i] = i;
    std::stable_sort(wanted.begin(), wanted.end(),
                     [&](uint32_t a, uint32_t b) { return ids[a] < ids[b]; });
    EXPECT_EQ(groups.order, wanted);
    uint32_t next = 0;
    bool over = false;
    for (const ExpertJob& job : groups.jobs) {
      over = over || job.count == 0;
      ASSERT_EQ(job.count == 0, over);
      if (over) continue;
      ASSERT_EQ(job.first, next);
      ASSERT_LE(job.count, c.tile_pairs);
      for (uint32_t i = 0; i < job.count; ++i) {
        ASSERT_EQ(static_cast<uint32_t>(ids[wanted[next + i]]), job.expert);
      }
      next += job.count;
      const bool has_more =
          next < ids.size() && static_cast<uint32_t>(ids[wanted[next]]) == job.expert;
      ASSERT_TRUE(job.count == c.tile_pairs || !has_more);
    }
    EXPECT_EQ(next, ids.size());
  }
}

TEST_F(ExpertKernels, PairsOfNoExpertAreInNoJob) {
  const std::vector<int32_t> ids = {2, -1, 0, 7, 2};
  const Groups groups = group(ids, 3, 8);
  ASSERT_EQ(groups.jobs.size(), 3u);
  EXPECT_EQ(groups.jobs[0].count, 1u);
  EXPECT_EQ(groups.jobs[1].expert, 2u);
  EXPECT_EQ(groups.jobs[1].count, 2u);
  EXPECT_EQ(groups.jobs[2].count, 0u);
  EXPECT_EQ((std::vector<uint32_t>(groups.order.begin(), groups.order.begin() + 3)),
            (std::vector<uint32_t>{2, 0, 4}));
}

// Experts with weights of given types, and the table the kernels read.
struct Experts {
  std::vector<Grid> gate, up, down;
  std::vector<ExpertMatrices> table;
};
struct ExpertTypes {
  Type gate, up, down;
};

Experts make_experts(Numbers& numbers, const std::vector<ExpertTypes>& types, uint32_t hidden,
                     uint32_t width) {
  Experts experts;
  for (const ExpertTypes& type : types) {
    experts.gate.push_back(Grid::random(numbers, type.gate, width, hidden, true, 0.2));
    experts.up.push_back(Grid::random(numbers, type.up, width, hidden, true, 0.2));
    experts.down.push_back(Grid::random(numbers, type.down, hidden, width, true, 0.2));
  }
  for (size_t e = 0; e < types.size(); ++e) {
    experts.table.push_back(
        {experts.gate[e].weights(), experts.up[e].weights(), experts.down[e].weights()});
  }
  return experts;
}

struct Shape {
  uint32_t tokens, slots, hidden, width;
};

class ExpertProducts : public ExpertKernels {
 protected:
  // One op over all pairs by one tile; without groups every pair is a job of its own.
  Grid run(const Grid& x, const kernels::Codes& codes, const Experts& experts, ExpertPart part,
           const std::vector<int32_t>& ids, LinearTile tile, bool grouped = true) {
    const auto pairs = static_cast<uint32_t>(ids.size());
    const auto count = static_cast<uint32_t>(experts.table.size());
    const Grid& out = part == ExpertPart::kGateUp ? experts.gate[0] : experts.down[0];
    Grid y(x.type(), pairs, out.rows());
    kernels::LinearParams params;
    params.x = x.view();
    params.x_codes = codes;
    params.y = y.view();
    Groups groups;
    params.experts = {.experts = experts.table.data(),
                      .expert_count = count,
                      .part = part,
                      .x_share = pairs / x.rows(),
                      .ids = ids.data(),
                      .job_count = pairs};
    if (grouped) {
      groups = group(ids, count, kernels::linear_tile_shape(tile).rows);
      params.experts.order = groups.order.data();
      params.experts.jobs = groups.jobs.data();
      params.experts.job_count = static_cast<uint32_t>(groups.jobs.size());
    }
    finish(kernels::launch_linear_any(params, tile, stream_));
    return y;
  }

  // Row `pair` of gate and up by single linears, then SwiGLU as the formula has it.
  void expect_hidden(const Grid& hidden, uint32_t pair, const Grid& gate, const Grid& up,
                     uint32_t x_row) {
    const bool is_bf16 = hidden.type() == Type::kBF16;
    for (uint32_t c = 0; c < hidden.cols(); ++c) {
      const auto g = static_cast<float>(gate.get(x_row, c));
      const auto u = static_cast<float>(up.get(x_row, c));
      const float product = g / (1.0f + std::exp(-g)) * u;
      ASSERT_EQ(hidden.get(pair, c), is_bf16 ? bf16_round(product) : product)
          << "pair " << pair << " column " << c;
    }
  }

  void check(const Shape& shape, const std::vector<ExpertTypes>& types, Type act, bool quantised,
             uint64_t seed) {
    Numbers numbers(seed);
    const auto count = static_cast<uint32_t>(types.size());
    const Experts experts = make_experts(numbers, types, shape.hidden, shape.width);
    const std::vector<int32_t> ids = random_ids(numbers, shape.tokens, shape.slots, count);
    const Grid x = Grid::random(numbers, act, shape.tokens, shape.hidden, false);
    QuantGrid x_codes = quantise(x);
    const kernels::Codes codes = quantised ? x_codes.view() : kernels::Codes{};
    const LinearTile alone = act == Type::kF32 && !quantised ? LinearTile::kPlain : kTiles[1];

    std::vector<Grid> gate, up;
    for (uint32_t e = 0; e < count; ++e) {
      // Gate and up of different types have no product in common.
      const LinearTile tile = types[e].gate == types[e].up ? alone : LinearTile::kPlain;
      gate.push_back(linear(x, codes, experts.gate[e], act, tile));
      up.push_back(linear(x, codes, experts.up[e], act, tile));
    }
    const Grid hidden = run(x, codes, experts, ExpertPart::kGateUp, ids, kTiles[0]);
    for (uint32_t pair = 0; pair < ids.size(); ++pair) {
      expect_hidden(hidden, pair, gate[ids[pair]], up[ids[pair]], pair / shape.slots);
    }
    QuantGrid hidden_codes = quantise(hidden);
    const kernels::Codes down_codes = quantised ? hidden_codes.view() : kernels::Codes{};
    const Grid y = run(hidden, down_codes, experts, ExpertPart::kDown, ids, kTiles[0]);
    std::vector<Grid> down;
    for (uint32_t e = 0; e < count; ++e) {
      down.push_back(linear(hidden, down_codes, experts.down[e], act, alone));
    }
    for (uint32_t pair = 0; pair < ids.size(); ++pair) {
      EXPECT_TRUE(y.same_row(pair, down[ids[pair]], pair)) << "pair " << pair;
    }
    for (const LinearTile tile : {kTiles[1], kTiles[2]}) {
      EXPECT_TRUE(hidden.same(run(x, codes, experts, ExpertPart::kGateUp, ids, tile)));
      EXPECT_TRUE(y.same(run(hidden, down_codes, experts, ExpertPart::kDown, ids, tile)));
    }
    EXPECT_TRUE(hidden.same(run(x, codes, experts, ExpertPart::kGateUp, ids, kTiles[0], false)));
    EXPECT_TRUE(y.same(run(hidden, down_codes, experts, ExpertPart::kDown, ids, kTiles[0], false)));
  }
};

TEST_F(ExpertProducts, EachPairIsItsExpertsLinearForEveryTile) {
  for (const Type weight : {Type::kBF16, Type::kF8E4M3}) {
    const ExpertTypes types = {weight, weight, weight};
    check({1, 2, 24, 40}, {types, types, types}, Type::kBF16, false, 1);
    check({47, 2, 200, 72}, {types, types, types}, Type::kBF16, false, 2);
    check({10, 1, 1161, 9}, {types}, Type::kBF16, false, 3);
  }
}

TEST_F(ExpertProducts, QuantisedInputsGiveTheLinearOfCodes) {
  constexpr ExpertTypes kF8 = {Type::kF8E4M3, Type::kF8E4M3, Type::kF8E4M3};
  check({1, 2, 24, 40}, {kF8, kF8, kF8}, Type::kBF16, true, 4);
  check({47, 2, 200, 136}, {kF8, kF8, kF8}, Type::kBF16, true, 5);
}

TEST_F(ExpertProducts, ExpertsMayDifferInTypeAndActivationsMayBeF32) {
  constexpr ExpertTypes kMixed[] = {{Type::kBF16, Type::kBF16, Type::kF8E4M3},
                                    {Type::kF8E4M3, Type::kF8E4M3, Type::kBF16},
                                    {Type::kF16, Type::kF16, Type::kF32},
                                    {Type::kF8E4M3, Type::kBF16, Type::kF16}};
  const std::vector<ExpertTypes> types(std::begin(kMixed), std::end(kMixed));
  check({21, 2, 136, 40}, types, Type::kBF16, false, 6);
  check({9, 2, 136, 40}, types, Type::kF32, false, 7);
}

}  // namespace
}  // namespace dsv3::linear_test
