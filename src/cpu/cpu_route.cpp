// Which experts does a token go to, and with which weights? Spec §3.3 in its order, all in FP32.
#include <cmath>
#include <limits>

#include "cpu/cpu_checks.h"
#include "cpu/cpu_ops_impl.h"

namespace dsv3 {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr uint32_t kNone = 0xffffffffu;

// The largest choice not yet taken; the lower index wins ties, so where only -inf remains the
// lowest index is next. kNone only when all are taken.
uint32_t largest_left(const float* choice, const uint8_t* taken, uint32_t size) {
  uint32_t best = kNone;
  for (uint32_t i = 0; i < size; ++i) {
    if (taken[i] == 0 && (best == kNone || choice[i] > choice[best])) best = i;
  }
  return best;
}

// The sum of the two largest choices of a group (trap T22).
float group_score(const float* choice, uint32_t size) {
  float first = -kInfinity;
  float second = -kInfinity;
  for (uint32_t i = 0; i < size; ++i) {
    if (choice[i] > first) {
      second = first;
      first = choice[i];
    } else if (choice[i] > second) {
      second = choice[i];
    }
  }
  return first + second;
}

// -inf for every expert outside the kept groups (never 0: trap T23). `scores`, `taken` are scratch.
void drop_groups(const RouterShape& shape, float* choice, float* scores, uint8_t* taken) {
  const uint32_t size = shape.experts / shape.groups;
  for (uint32_t g = 0; g < shape.groups; ++g) {
    scores[g] = group_score(choice + size_t{g} * size, size);
    taken[g] = 0;
  }
  for (uint32_t i = 0; i < shape.groups_kept; ++i) {
    taken[largest_left(scores, taken, shape.groups)] = 1;
  }
  for (uint32_t g = 0; g < shape.groups; ++g) {
    for (uint32_t i = 0; taken[g] == 0 && i < size; ++i) choice[g * size + i] = -kInfinity;
  }
}

struct RouteRow {
  const float* logits;  // [E]
  float* scores;        // [E]
  float* choice;        // [E]
  float* groups;        // [E], scratch
  uint8_t* taken;       // [E], scratch: 1 = already chosen
  int32_t* ids;         // [K]
  float* weights;       // [K]
};

void route_row(const RouterShape& shape, const float* bias, const RouteRow& row) {
  for (uint32_t e = 0; e < shape.experts; ++e) {
    const bool is_nan = std::isnan(row.logits[e]);
    row.scores[e] = is_nan ? 0.0f : 1.0f / (1.0f + std::exp(-row.logits[e]));
    const float biased = row.scores[e] + (bias != nullptr ? bias[e] : 0.0f);
    row.choice[e] = is_nan || std::isnan(biased) ? -kInfinity : biased;
  }
  if (shape.groups > 1) drop_groups(shape, row.choice, row.groups, row.taken);
  for (uint32_t e = 0; e < shape.experts; ++e) row.taken[e] = 0;
  float sum = 0.0f;
  for (uint32_t k = 0; k < shape.experts_per_token; ++k) {
    const uint32_t expert = largest_left(row.choice, row.taken, shape.experts);
    row.taken[expert] = 1;
    row.ids[k] = static_cast<int32_t>(expert);
    row.weights[k] = row.scores[expert];  // the unbiased score itself (traps T21, T24)
    sum += row.weights[k];
  }
  for (uint32_t k = 0; k < shape.experts_per_token; ++k) {
    if (shape.normalise) row.weights[k] /= sum + 1e-20f;
    row.weights[k] *= shape.scaling;
  }
}

}  // namespace

void CpuOps::do_route(const RouteArgs& args) {
  const RouterShape& shape = args.shape;
  const uint32_t experts = shape.experts;
  const uint32_t slots = shape.experts_per_token;
  check_limit("route", "rows_max", args.x.rows, scratch_.limits.rows_max);
  check_limit("route", "experts_max", experts, scratch_.limits.experts_max);
  float* logits = scratch_.router_logits;
  multiply(args.x, args.gate,
           {.data = logits,
            .dtype = DType::kF32,
            .rows = args.x.rows,
            .cols = experts,
            .stride = experts},
           true);
  run_rows(args.x.rows, uint64_t{experts} * (slots + 8), [&](uint32_t row, uint32_t worker) {
    const WorkerScratch& scratch = scratch_.workers[worker];
    route_row(shape, args.bias,
              {.logits = logits + uint64_t{row} * experts,
               .scores = scratch.row_a,
               .choice = scratch.row_b,
               .groups = scratch.x_f32,
               .taken = reinterpret_cast<uint8_t*>(scratch.decoded),
               .ids = args.ids + uint64_t{row} * slots,
               .weights = args.weights + uint64_t{row} * slots});
  });
  // Counted here, by one thread: the counters belong to the caller.
  for (uint64_t i = 0; args.expert_tokens != nullptr && i < uint64_t{args.x.rows} * slots; ++i) {
    ++args.expert_tokens[args.ids[i]];
  }
  for (uint64_t i = 0; args.nan_count != nullptr && i < uint64_t{args.x.rows} * experts; ++i) {
    *args.nan_count += std::isnan(logits[i]) ? 1 : 0;
  }
}

}  // namespace dsv3
