// The routed experts: (token, slot) pairs are grouped by expert, so that each expert's weights are
// read once per pass however many tokens chose it.
#include <algorithm>

#include "cpu/cpu_checks.h"
#include "cpu/cpu_ops_impl.h"
#include "ops/ops_checks.h"

namespace dsv3 {
namespace {

struct OutRange {
  uint32_t first, count;
};

// out = act(silu(act(x gate^T)) * act(x up^T)) for a range of outputs of one expert. `source` holds
// rows of x as they are; where the two weights differ in dtype, they are prepared for each anew.
void gate_up(const Panel& panel, const ExpertWeights& weights, OutRange range,
             const PanelRows& source, const PanelOutput& out) {
  const DType act = out.rows.dtype;
  const bool alike = weights.gate.dtype == weights.up.dtype;
  PanelRows rows;
  const auto prepare_for = [&](const Weight& weight) {
    rows = source;
    panel.prepare(rows, act, weight.cols, row_format(weight.dtype));
  };
  if (alike) prepare_for(weights.gate);
  float gate[kRowBlock * kOutBlock];
  float up[kRowBlock * kOutBlock];
  const uint32_t end = range.first + range.count;
  for (uint32_t o = range.first; o < end; o += kOutBlock) {
    const uint32_t count = std::min(kOutBlock, end - o);
    if (!alike) prepare_for(weights.gate);
    panel.multiply(weights.gate, o, count, rows, gate, kOutBlock);
    if (!alike) prepare_for(weights.up);
    panel.multiply(weights.up, o, count, rows, up, kOutBlock);
    for (uint32_t i = 0; i < rows.count; ++i) {
      float* g = gate + size_t{i} * kOutBlock;
      float* u = up + size_t{i} * kOutBlock;
      panel.round(g, act, count);
      panel.round(u, act, count);
      panel.kernels.silu_mul(g, u, count, g);
      panel.store(g, act, count, out.at(i, o));
    }
  }
}

}  // namespace

// Counting sort: expert_rows[expert_begin[e] .. expert_begin[e + 1]) are the pairs of expert e,
// ascending; expert_active lists the experts that have any.
void CpuOps::group_by_expert(const int32_t* ids, uint32_t count, uint32_t expert_count) {
  uint32_t* begin = scratch_.expert_begin;
  std::fill_n(begin, expert_count + 1, 0u);
  for (uint32_t i = 0; i < count; ++i) ++begin[ids[i]];
  active_experts_ = 0;
  uint32_t end = 0;
  for (uint32_t e = 0; e < expert_count; ++e) {
    if (begin[e] != 0) scratch_.expert_active[active_experts_++] = e;
    end += begin[e];
    begin[e] = end;
  }
  begin[expert_count] = end;
  for (uint32_t i = count; i-- > 0;) scratch_.expert_rows[--begin[ids[i]]] = i;
}

// Runs body(expert, first output, output count, worker) over all active experts.
template <typename Body>
void CpuOps::run_experts(uint32_t outs, uint64_t cost_per_out, const Body& body) {
  const uint64_t total = uint64_t{outs} * active_experts_;
  const uint32_t share = std::min(outs_per_task(total, cost_per_out), (outs + 7) / 8 * 8);
  const uint32_t parts = (outs + share - 1) / share;
  run(uint64_t{active_experts_} * parts, [&](uint32_t task, uint32_t worker) {
    const uint32_t first = task % parts * share;
    body(scratch_.expert_active[task / parts], first, std::min(share, outs - first), worker);
  });
}

void CpuOps::do_expert_gate_up(const ExpertGateUpArgs& args) {
  const uint32_t slots = args.experts_per_token;
  check_experts(args);
  check_limit("expert_gate_up", "linear_in_max", args.x.cols, scratch_.width);
  check_limit("expert_gate_up", "expert_rows_max", args.hidden.rows,
              scratch_.limits.expert_rows_max);
  check_limit("expert_gate_up", "experts_max", args.expert_count, scratch_.limits.experts_max);
  check_ids("expert_gate_up", "ids", args.ids, args.hidden.rows, args.expert_count);
  group_by_expert(args.ids, args.hidden.rows, args.expert_count);
  const auto body = [&](uint32_t expert, uint32_t first, uint32_t count, uint32_t worker) {
    const Panel panel = this->panel(worker);
    const ExpertWeights& weights = args.experts[expert];
    const uint32_t* pairs = scratch_.expert_rows;
    const uint32_t pairs_end = scratch_.expert_begin[expert + 1];
    for (uint32_t p = scratch_.expert_begin[expert]; p < pairs_end; p += kRowBlock) {
      PanelRows rows;
      rows.count = std::min(kRowBlock, pairs_end - p);
      for (uint32_t i = 0; i < rows.count; ++i) {
        rows.rows[i] = row_at(args.x, pairs[p + i] / slots);
      }
      gate_up(panel, weights, {first, count}, rows,
              {.rows = args.hidden, .first = p, .ids = pairs});
    }
  };
  const uint64_t rows_each = args.hidden.rows / active_experts_ + 1;
  run_experts(args.hidden.cols, 2 * uint64_t{args.x.cols} * rows_each, body);
}

void CpuOps::do_expert_down(const ExpertDownArgs& args) {
  check_experts(args);
  check_limit("expert_down", "linear_in_max", args.hidden.cols, scratch_.width);
  check_limit("expert_down", "expert_rows_max", args.hidden.rows, scratch_.limits.expert_rows_max);
  check_limit("expert_down", "experts_max", args.expert_count, scratch_.limits.experts_max);
  check_ids("expert_down", "ids", args.ids, args.hidden.rows, args.expert_count);
  group_by_expert(args.ids, args.hidden.rows, args.expert_count);
  const auto body = [&](uint32_t expert, uint32_t first, uint32_t count, uint32_t worker) {
    const Panel panel = this->panel(worker);
    const Weight& weight = args.experts[expert].down;
    const uint32_t* pairs = scratch_.expert_rows;
    const uint32_t pairs_end = scratch_.expert_begin[expert + 1];
    for (uint32_t p = scratch_.expert_begin[expert]; p < pairs_end; p += kRowBlock) {
      PanelRows rows;
      rows.count = std::min(kRowBlock, pairs_end - p);
      for (uint32_t i = 0; i < rows.count; ++i) rows.rows[i] = row_at(args.hidden, pairs[p + i]);
      panel.prepare(rows, args.hidden.dtype, weight.cols, row_format(weight.dtype));
      panel.multiply_into(weight, first, count, rows, {.rows = args.y, .first = p, .ids = pairs});
    }
  };
  const uint64_t rows_each = args.hidden.rows / active_experts_ + 1;
  run_experts(args.y.cols, uint64_t{args.hidden.cols} * rows_each, body);
}

void CpuOps::do_expert_combine(const ExpertCombineArgs& args) {
  const uint32_t cols = args.out.cols;
  const uint32_t slots = args.experts_per_token;
  check_limit("expert_combine", "linear_in_max", cols, scratch_.width);
  const auto format = static_cast<uint32_t>(row_format(args.y.dtype));
  run_rows(args.out.rows, uint64_t{cols} * (slots + 1), [&](uint32_t row, uint32_t worker) {
    const Panel panel = this->panel(worker);
    float* sum = panel.scratch.row_a;
    std::fill_n(sum, cols, 0.0f);
    kernels_.weighted_sum[format](args.weights + uint64_t{row} * slots, slots,
                                  row_at(args.y, uint64_t{row} * slots), args.y.stride, cols, sum);
    if (args.shared.data != nullptr) {
      panel.to_f32(row_at(args.shared, row), args.shared.dtype, cols, panel.scratch.row_b);
      kernels_.add(panel.scratch.row_b, cols, sum);
    }
    panel.store(sum, args.out.dtype, cols, row_at(args.out, row));
  });
}

}  // namespace dsv3
