// Which experts does a token go to, and with which weights? Spec §3.3 in its order, all in FP32.
#include <algorithm>
#include <atomic>
#include <limits>

#include "cpu/cpu_checks.h"
#include "cpu/cpu_ops_impl.h"

namespace dsv3 {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr uint32_t kRouteRows = 24;  // rows whose logits one task computes when there are many
static_assert(kRouteRows <= kRowBlock);

// The sum of the two largest choices of a group (trap T22).
float group_score(const float* choice, uint32_t size) {
  float first = -kInfinity;
  float second = -kInfinity;
  for (uint32_t i = 0; i < size; ++i) {
    second = std::max(second, std::min(first, choice[i]));
    first = std::max(first, choice[i]);
  }
  return first + second;
}

struct RouteRow {
  const float* logits;  // [E]
  float* scores;        // [E]
  float* choice;        // [E]
  float* groups;        // [E], scratch
  int32_t* kept;        // [E], scratch
  int32_t* ids;         // [K]
  float* weights;       // [K]
};

// -inf for every expert outside the kept groups (never 0: trap T23).
void drop_groups(const CpuKernels& kernels, const RouterShape& shape, const RouteRow& row) {
  const uint32_t size = shape.experts / shape.groups;
  for (uint32_t g = 0; g < shape.groups; ++g) {
    row.groups[g] = group_score(row.choice + size_t{g} * size, size);
  }
  kernels.largest(row.groups, shape.groups, shape.groups_kept, row.kept);
  std::fill_n(row.groups, shape.groups, 0.0f);
  for (uint32_t i = 0; i < shape.groups_kept; ++i) row.groups[row.kept[i]] = 1.0f;
  for (uint32_t g = 0; g < shape.groups; ++g) {
    if (row.groups[g] == 0.0f) std::fill_n(row.choice + size_t{g} * size, size, -kInfinity);
  }
}

// Returns how many logits are NaN.
uint32_t route_row(const CpuKernels& kernels, const RouterShape& shape, const float* bias,
                   const RouteRow& row) {
  const uint32_t nans =
      kernels.route_scores(row.logits, bias, shape.experts, row.scores, row.choice);
  if (shape.groups > 1) drop_groups(kernels, shape, row);
  kernels.largest(row.choice, shape.experts, shape.experts_per_token, row.ids);
  float sum = 0.0f;
  for (uint32_t k = 0; k < shape.experts_per_token; ++k) {
    row.weights[k] = row.scores[row.ids[k]];  // the unbiased score itself (traps T21, T24)
    sum += row.weights[k];
  }
  for (uint32_t k = 0; k < shape.experts_per_token; ++k) {
    if (shape.normalise) row.weights[k] /= sum + 1e-20f;
    row.weights[k] *= shape.scaling;
  }
  return nans;
}

}  // namespace

// Many rows: a task computes the logits of its own rows, each of which is made F32 once, and routes
// them. Few: the gate is cut into outputs as any linear is.
void CpuOps::do_route(const RouteArgs& args) {
  const RouterShape& shape = args.shape;
  const uint32_t experts = shape.experts;
  const uint32_t slots = shape.experts_per_token;
  const uint32_t rows = args.x.rows;
  check_limit("route", "rows_max", rows, scratch_.limits.rows_max);
  check_limit("route", "experts_max", experts, scratch_.limits.experts_max);
  check_limit("route", "linear_in_max", args.gate.cols, scratch_.width);
  const auto logits_of = [&](uint32_t first, uint32_t count) -> Rows {
    float* const data = scratch_.router_logits + uint64_t{first} * experts;
    return {.data = data, .dtype = DType::kF32, .rows = count, .cols = experts, .stride = experts};
  };
  std::atomic<uint32_t> nans = 0;
  const auto route = [&](uint32_t row, uint32_t worker) {
    const WorkerScratch& scratch = scratch_.workers[worker];
    const uint32_t found = route_row(kernels_, shape, args.bias,
                                     {.logits = scratch_.router_logits + uint64_t{row} * experts,
                                      .scores = scratch.row_a,
                                      .choice = scratch.row_b,
                                      .groups = scratch.x_f32,
                                      .kept = reinterpret_cast<int32_t*>(scratch.decoded),
                                      .ids = args.ids + uint64_t{row} * slots,
                                      .weights = args.weights + uint64_t{row} * slots});
    if (found != 0) nans.fetch_add(found, std::memory_order_relaxed);
  };
  if (rows < kRouteRows * pool_.workers()) {
    multiply(args.x, args.gate, logits_of(0, rows), true);
    run_rows(rows, uint64_t{experts} * 8, route);
  } else {
    run_units((rows + kRouteRows - 1) / kRouteRows, [&](uint32_t task, uint32_t worker) {
      const uint32_t first = task * kRouteRows;
      const uint32_t count = std::min(kRouteRows, rows - first);
      const ConstRows x(row_at(args.x, first), args.x.dtype, count, args.x.cols, args.x.stride);
      multiply_range(x, args.gate, logits_of(first, count), true, {0, experts}, panel(worker));
      for (uint32_t row = first; row < first + count; ++row) route(row, worker);
    });
  }
  // Counted here, by one thread: the counters belong to the caller.
  for (uint64_t i = 0; args.expert_tokens != nullptr && i < uint64_t{rows} * slots; ++i) {
    ++args.expert_tokens[args.ids[i]];
  }
  if (args.nan_count != nullptr) *args.nan_count += nans;
}

}  // namespace dsv3
