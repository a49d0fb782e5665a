// The experts: (token, slot) pairs are grouped by expert, so that each expert's weights are read
// once per pass however many tokens chose it. The shared expert is one more, with every row.
#include <algorithm>

#include "cpu/cpu_checks.h"
#include "cpu/cpu_ops_impl.h"
#include "ops/ops_checks.h"

namespace dsv3 {
namespace {

// gate and up outputs of one expert for some rows.
struct GateUp {
  const Panel& panel;
  const ExpertWeights& weights;
  const PanelRows& source;  // rows of x as they are
  const PanelOutput& out;

  // Where the two weights differ in dtype, the rows are prepared for each anew.
  void prepare(const Weight& weight, PanelRows& rows) const {
    rows = source;
    panel.prepare(rows, out.rows.dtype, weight.cols, row_format(weight.dtype));
  }
  bool alike() const { return weights.gate.dtype == weights.up.dtype; }
  void compute_f32(const OutRange& range) const;
  void compute_bf16(const OutRange& range) const;
};

// out = silu(x gate^T) * (x up^T)
void GateUp::compute_f32(const OutRange& range) const {
  float gate[kRowBlock * kOutBlock];
  float up[kRowBlock * kOutBlock];
  PanelRows rows;
  prepare(weights.gate, rows);
  const uint32_t end = range.first + range.count;
  for (uint32_t o = range.first; o < end; o += kOutBlock) {
    const uint32_t count = std::min(kOutBlock, end - o);
    if (!alike()) prepare(weights.gate, rows);
    panel.multiply(weights.gate, o, count, rows, gate, kOutBlock);
    if (!alike()) prepare(weights.up, rows);
    panel.multiply(weights.up, o, count, rows, up, kOutBlock);
    for (uint32_t i = 0; i < rows.count; ++i) {
      const size_t at = size_t{i} * kOutBlock;
      panel.kernels.silu_mul(gate + at, up + at, count, static_cast<float*>(out.at(i, o)));
    }
  }
}

// The same with every factor rounded: out = act(silu(act(x gate^T)) * act(x up^T)).
void GateUp::compute_bf16(const OutRange& range) const {
  uint16_t gate[kPanelRows * kOutBlock];
  uint16_t up[kPanelRows * kOutBlock];
  uint16_t* gate_rows[kPanelRows];
  uint16_t* up_rows[kPanelRows];
  // One long stretch of either weight where the rows are few.
  const uint32_t block = kPanelRows / source.count * kOutBlock;
  for (uint32_t i = 0; i < source.count; ++i) {
    gate_rows[i] = gate + size_t{i} * block;
    up_rows[i] = up + size_t{i} * block;
  }
  PanelRows rows;
  prepare(weights.gate, rows);
  const uint32_t end = range.first + range.count;
  for (uint32_t o = range.first; o < end; o += block) {
    const uint32_t count = std::min(block, end - o);
    OutRange next = {.next = range.next, .next_count = range.next_count};
    if (o + count < end)
      next = {.next = weight_row_at(weights.gate, o + count), .next_count = count};
    if (!alike()) prepare(weights.gate, rows);
    panel.multiply_bf16(weights.gate, {o, count, weight_row_at(weights.up, o), count}, rows,
                        gate_rows);
    if (!alike()) prepare(weights.up, rows);
    panel.multiply_bf16(weights.up, {o, count, next.next, next.next_count}, rows, up_rows);
    for (uint32_t i = 0; i < rows.count; ++i) {
      panel.kernels.silu_mul_bf16(gate_rows[i], up_rows[i], count,
                                  static_cast<uint16_t*>(out.at(i, o)));
    }
  }
}

}  // namespace

// What one of the two expert operations loops over.
struct ExpertLoop {
  const ExpertWeights* experts = nullptr;
  const ExpertWeights* shared = nullptr;          // null: none
  Weight ExpertWeights::*first_weight = nullptr;  // read first: sizes the units
  uint32_t rows_each = 0;                         // of a routed expert, on average
  uint32_t shared_rows = 0;
};

namespace {

// Outputs `range` of one expert for rows pairs[begin .. end), or rows begin .. end of all.
struct ExpertUnit {
  const ExpertWeights& weights;
  const uint32_t* pairs = nullptr;
  uint32_t begin = 0;
  uint32_t end = 0;
  OutRange range;

  bool is_shared() const { return pairs == nullptr; }
  uint32_t row(uint32_t i) const { return pairs != nullptr ? pairs[i] : i; }
};

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

template <typename Body>
void CpuOps::run_experts(const ExpertLoop& loop, const Body& body) {
  const auto weight_of = [&](const ExpertWeights& weights) -> const Weight& {
    return weights.*loop.first_weight;
  };
  const Weight& routed = weight_of(loop.experts[scratch_.expert_active[0]]);
  const bool has_shared = loop.shared != nullptr;
  const uint32_t shared_outs = has_shared ? weight_of(*loop.shared).rows : 0;
  const uint64_t total = uint64_t{routed.rows} * active_experts_ + shared_outs;
  const uint32_t outs = outs_per_unit(total, routed, loop.rows_each);
  const uint32_t parts = (routed.rows + outs - 1) / outs;
  const uint32_t shared_unit =
      has_shared ? outs_per_unit(total, weight_of(*loop.shared), loop.shared_rows) : 1;
  const uint32_t shared_parts = (shared_outs + shared_unit - 1) / shared_unit;
  // The weight that is read after the one of active expert `i`.
  const auto weight_after = [&](uint32_t i) -> const Weight* {
    return i + 1 < active_experts_ ? &weight_of(loop.experts[scratch_.expert_active[i + 1]])
                                   : nullptr;
  };
  const uint32_t units = shared_parts + active_experts_ * parts;
  run_stretches(units, loop.rows_each < kManyRows,
                [&](uint32_t begin, uint32_t end, uint32_t worker) {
                  if (begin < shared_parts) {
                    const uint32_t to = std::min(end, shared_parts);
                    const OutRange range = out_range(weight_of(*loop.shared), begin * shared_unit,
                                                     to * shared_unit, weight_after(UINT32_MAX));
                    body(ExpertUnit{*loop.shared, nullptr, 0, loop.shared_rows, range}, worker);
                    begin = to;
                  }
                  while (begin < end) {
                    const uint32_t i = (begin - shared_parts) / parts;
                    const uint32_t first = shared_parts + i * parts;  // the expert's first unit
                    const uint32_t to = std::min(end, first + parts);
                    const uint32_t expert = scratch_.expert_active[i];
                    const ExpertWeights& weights = loop.experts[expert];
                    const OutRange range = out_range(weight_of(weights), (begin - first) * outs,
                                                     (to - first) * outs, weight_after(i));
                    body(ExpertUnit{weights, scratch_.expert_rows, scratch_.expert_begin[expert],
                                    scratch_.expert_begin[expert + 1], range},
                         worker);
                    begin = to;
                  }
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
  const bool is_f32 = args.x.dtype == DType::kF32;
  const auto body = [&](const ExpertUnit& unit, uint32_t worker) {
    const Panel panel = this->panel(worker);
    const Rows& hidden = unit.is_shared() ? args.shared_hidden : args.hidden;
    const auto at_once = [&](const Weight& weight) {
      return panel.rows_at_once(args.x.dtype, args.x.cols, row_format(weight.dtype));
    };
    const uint32_t block =
        is_f32 ? kRowBlock : std::min(at_once(unit.weights.gate), at_once(unit.weights.up));
    for (uint32_t p = unit.begin; p < unit.end; p += block) {
      PanelRows rows;
      rows.count = std::min(block, unit.end - p);
      for (uint32_t i = 0; i < rows.count; ++i) {
        const uint32_t row = unit.row(p + i);
        rows.rows[i] = row_at(args.x, unit.is_shared() ? row : row / slots);
      }
      const PanelOutput out{.rows = hidden, .first = p, .ids = unit.pairs};
      const GateUp gate_up{panel, unit.weights, rows, out};
      if (is_f32) {
        gate_up.compute_f32(unit.range);
      } else {
        gate_up.compute_bf16(unit.range);
      }
    }
  };
  run_experts({.experts = args.experts,
               .shared = args.shared,
               .first_weight = &ExpertWeights::gate,
               .rows_each = args.hidden.rows / active_experts_ + 1,
               .shared_rows = args.x.rows},
              body);
}

void CpuOps::do_expert_down(const ExpertDownArgs& args) {
  check_experts(args);
  check_limit("expert_down", "linear_in_max", args.hidden.cols, scratch_.width);
  check_limit("expert_down", "expert_rows_max", args.hidden.rows, scratch_.limits.expert_rows_max);
  check_limit("expert_down", "experts_max", args.expert_count, scratch_.limits.experts_max);
  check_ids("expert_down", "ids", args.ids, args.hidden.rows, args.expert_count);
  if (args.shared != nullptr) {
    check_limit("expert_down", "linear_in_max", args.shared_hidden.cols, scratch_.width);
  }
  group_by_expert(args.ids, args.hidden.rows, args.expert_count);
  const auto body = [&](const ExpertUnit& unit, uint32_t worker) {
    const Panel panel = this->panel(worker);
    const Weight& weight = unit.weights.down;
    const ConstRows& hidden = unit.is_shared() ? args.shared_hidden : args.hidden;
    const Rows& y = unit.is_shared() ? args.shared_y : args.y;
    const RowFormat format = row_format(weight.dtype);
    const uint32_t block = panel.rows_at_once(hidden.dtype, weight.cols, format);
    for (uint32_t p = unit.begin; p < unit.end; p += block) {
      PanelRows rows;
      rows.count = std::min(block, unit.end - p);
      for (uint32_t i = 0; i < rows.count; ++i) rows.rows[i] = row_at(hidden, unit.row(p + i));
      panel.prepare(rows, hidden.dtype, weight.cols, format);
      panel.multiply_into(weight, unit.range, rows, {.rows = y, .first = p, .ids = unit.pairs});
    }
  };
  run_experts({.experts = args.experts,
               .shared = args.shared,
               .first_weight = &ExpertWeights::down,
               .rows_each = args.hidden.rows / active_experts_ + 1,
               .shared_rows = args.shared_hidden.rows},
              body);
}

void CpuOps::do_expert_combine(const ExpertCombineArgs& args) {
  const uint32_t cols = args.out.cols;
  const uint32_t slots = args.experts_per_token;
  check_limit("expert_combine", "linear_in_max", cols, scratch_.width);
  const auto format = static_cast<uint32_t>(row_format(args.y.dtype));
  const bool has_shared = args.shared.data != nullptr;
  const bool is_bf16 = args.y.dtype == DType::kBF16 && args.out.dtype == DType::kBF16 &&
                       (!has_shared || args.shared.dtype == DType::kBF16);
  run_rows(args.out.rows, uint64_t{cols} * (slots + 1), [&](uint32_t row, uint32_t worker) {
    const Panel panel = this->panel(worker);
    const float* weights = args.weights + uint64_t{row} * slots;
    if (is_bf16) {
      for (uint64_t k = 0; k < slots; ++k) prefetch_row(args.y, (uint64_t{row} + 1) * slots + k);
      if (has_shared) prefetch_row(args.shared, uint64_t{row} + 1);
      const void* y = row_at(args.y, uint64_t{row} * slots);
      const void* shared = has_shared ? row_at(args.shared, row) : nullptr;
      kernels_.combine_bf16({.coef = weights,
                             .row_count = slots,
                             .rows = static_cast<const uint16_t*>(y),
                             .stride = args.y.stride,
                             .shared = static_cast<const uint16_t*>(shared),
                             .count = cols,
                             .out = static_cast<uint16_t*>(row_at(args.out, row))});
      return;
    }
    float* sum = panel.scratch.row_a;
    std::fill_n(sum, cols, 0.0f);
    kernels_.weighted_sum[format](weights, slots, row_at(args.y, uint64_t{row} * slots),
                                  args.y.stride, cols, sum);
    if (has_shared) {
      panel.to_f32(row_at(args.shared, row), args.shared.dtype, cols, panel.scratch.row_b);
      kernels_.add(panel.scratch.row_b, cols, sum);
    }
    panel.store(sum, args.out.dtype, cols, row_at(args.out, row));
  });
}

}  // namespace dsv3
