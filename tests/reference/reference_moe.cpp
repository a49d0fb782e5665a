// Router and experts of the oracle.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/error.h"
#include "reference/reference_ops.h"

namespace dsv3::reference {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// All indices of `scores`, largest first; equal scores keep the lower index first.
std::vector<size_t> order_of(View scores) {
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  return order;
}

// The gap between the last of `kept` and the first dropped; infinity if none is dropped.
double gap_of(View scores, const std::vector<size_t>& order, size_t kept) {
  if (kept == 0 || kept >= order.size()) return kInfinity;
  const double dropped = scores[order[kept]];
  if (dropped == -kInfinity) return kInfinity;
  return scores[order[kept - 1]] - dropped;
}

// The sum of the two largest of each group. [groups]
Values group_scores(View choice, size_t groups) {
  const size_t size = choice.size() / groups;
  Values sums(groups);
  for (size_t g = 0; g < groups; ++g) {
    const View group = choice.subspan(g * size, size);
    const std::vector<size_t> order = order_of(group);
    sums[g] = group[order[0]] + (size > 1 ? group[order[1]] : 0.0);
  }
  return sums;
}

}  // namespace

Routing route(View logits, View bias, const RouterParams& params) {
  DSV3_ASSERT(logits.size() == params.experts && bias.size() == params.experts);
  DSV3_ASSERT(params.groups > 0 && params.experts % params.groups == 0);
  DSV3_ASSERT(params.top_k <= params.experts && params.topk_groups <= params.groups);
  Routing routing;
  routing.margin = kInfinity;
  Values scores(params.experts);
  Values choice(params.experts);
  for (size_t e = 0; e < params.experts; ++e) {
    const bool is_nan = std::isnan(logits[e]);
    routing.has_nan = routing.has_nan || is_nan;
    scores[e] = is_nan ? 0.0 : 1.0 / (1.0 + std::exp(-logits[e]));
    choice[e] = is_nan ? -kInfinity : scores[e] + bias[e];
  }
  if (params.groups > 1) {
    const Values sums = group_scores(choice, params.groups);
    const std::vector<size_t> order = order_of(sums);
    routing.margin = gap_of(sums, order, params.topk_groups);
    const size_t size = params.experts / params.groups;
    for (size_t rank = params.topk_groups; rank < params.groups; ++rank) {
      for (size_t i = 0; i < size; ++i) choice[order[rank] * size + i] = -kInfinity;
    }
  }
  const std::vector<size_t> order = order_of(choice);
  routing.margin = std::min(routing.margin, gap_of(choice, order, params.top_k));
  double sum = 0.0;
  for (size_t k = 0; k < params.top_k; ++k) {
    routing.experts.push_back(static_cast<int32_t>(order[k]));
    routing.weights.push_back(scores[order[k]]);
    sum += scores[order[k]];
  }
  for (double& weight : routing.weights) {
    if (params.norm_topk) weight /= sum + 1e-20;
    weight *= params.scaling;
  }
  return routing;
}

Values expert_forward(View x, const ExpertWeights& weights, size_t hidden) {
  const size_t width = weights.gate.size() / hidden;
  const Precision& precision = weights.precision;
  const Values gate = project(x, weights.gate, hidden, width, precision);
  const Values up = project(x, weights.up, hidden, width, precision);
  const Values y = stored(swiglu(gate, up), precision);
  return project(y, weights.down, width, hidden, precision);
}

Values moe_forward(View x, size_t hidden, const RouterParams& params, const MoeWeights& weights,
                   Values* margins) {
  Values out(x.size(), 0.0);
  for (size_t row = 0; row < x.size() / hidden; ++row) {
    const View token = x.subspan(row * hidden, hidden);
    const Values logits = linear(token, weights.router, hidden, params.experts);
    const Routing routing = route(logits, weights.bias, params);
    if (margins != nullptr) margins->push_back(routing.margin);
    for (size_t k = 0; k < params.top_k; ++k) {
      const auto expert = static_cast<size_t>(routing.experts[k]);
      const Values y = expert_forward(token, weights.experts[expert], hidden);
      for (size_t i = 0; i < hidden; ++i) out[row * hidden + i] += routing.weights[k] * y[i];
    }
    if (weights.shared.gate.empty()) continue;
    const Values y = expert_forward(token, weights.shared, hidden);
    for (size_t i = 0; i < hidden; ++i) out[row * hidden + i] += y[i];
  }
  return out;
}

}  // namespace dsv3::reference
