#include "op_costs.h"

#include <algorithm>
#include <vector>

#include "base/dtype.h"

namespace dsv3::bench {
namespace {

double size(const ConstRows& rows) {
  return rows.data == nullptr ? 0.0
                              : double{1} * rows.rows * rows.cols * dtype_bits(rows.dtype) / 8;
}

double size(const Weight& weight) {
  if (!weight.present()) return 0.0;
  const double elements = double{1} * weight.rows * weight.cols;
  return elements * dtype_bits(weight.dtype) / 8 +
         (weight.scales != nullptr ? elements * 4.0 / (kBlock * kBlock) : 0.0);
}

double elements(const Weight& weight) { return double{1} * weight.rows * weight.cols; }

// Experts that some row has; their weights, by which one member says.
template <class Part>
double touched(const int32_t* ids, uint32_t count, uint32_t experts, const Part& part) {
  std::vector<bool> seen(experts);
  double bytes = 0.0;
  for (uint32_t i = 0; i < count; ++i) {
    const auto id = static_cast<uint32_t>(ids[i]);
    if (seen[id]) continue;
    seen[id] = true;
    bytes += part(id);
  }
  return bytes;
}

}  // namespace

Cost op_cost(const EmbedArgs& args) { return {.bytes = 2.0 * size(args.out)}; }

Cost op_cost(const AddNormArgs& args) {
  return {.bytes = size(args.h) + size(args.residual) * (args.h.data != nullptr ? 2.0 : 1.0) +
                   size(args.weight) + size(args.out)};
}

Cost op_cost(const RmsNormArgs& args) {
  return {.bytes = size(args.x) + size(args.weight) + size(args.out)};
}

Cost op_cost(const LinearArgs& args) {
  return {.bytes = size(args.x) + size(args.weight) + size(args.y),
          .operations = 2.0 * elements(args.weight) * args.x.rows};
}

Cost op_cost(std::span<const LinearArgs> all) {
  Cost sum;
  for (const LinearArgs& args : all) {
    const Cost one = op_cost(args);
    sum.bytes += one.bytes;
    sum.operations += one.operations;
  }
  return sum;
}

Cost op_cost(const MlaAppendArgs& args) {
  return {.bytes = 2.0 * size(args.q) + 2.0 * size(args.z) + size(args.latent_norm)};
}

Cost op_cost(const MlaAttendArgs& args) {
  const MlaShape& shape = args.shape;
  const double row_bytes = args.pages.dtype == DType::kF8E4M3
                               ? static_cast<double>(latent_page_bytes_f8(shape)) / kPageTokens
                               : double{1} * args.pages.width * dtype_bits(args.pages.dtype) / 8;
  Cost cost{.bytes = size(args.q) + size(args.kv_b) + size(args.out)};
  for (uint32_t i = 0; i < args.batch.span_count; ++i) {
    const BatchSpan& span = args.batch.host_spans[i];
    const double rows = span.row_count;
    const double keys = double{1} * span.position_begin + rows;
    const double pairs = rows * span.position_begin + rows * (rows + 1.0) / 2.0;
    const bool is_absorbed = span.form == AttentionForm::kAbsorbed;
    const double per_pair = is_absorbed ? 2.0 * shape.latent_rank + shape.rope_dim
                                        : shape.nope_dim + shape.rope_dim + shape.value_dim;
    const double pair_ops = 2.0 * shape.heads * pairs * per_pair;
    cost.attention_bytes += keys * row_bytes;
    cost.attention_ops += pair_ops;
    cost.operations += pair_ops + 2.0 * elements(args.kv_b) * (is_absorbed ? rows : keys);
  }
  cost.bytes += cost.attention_bytes;
  return cost;
}

Cost op_cost(const RouteArgs& args) {
  return {.bytes = size(args.x) + size(args.gate),
          .operations = 2.0 * elements(args.gate) * args.x.rows};
}

Cost op_cost(const ExpertGateUpArgs& args) {
  const uint32_t count = args.x.rows * args.experts_per_token;
  const Weight& gate = args.experts[0].gate;
  Cost cost{.bytes = size(args.x) + size(args.hidden) + size(args.shared_hidden),
            .operations = 2.0 * 2.0 * elements(gate) * count};
  cost.bytes += touched(args.ids, count, args.expert_count, [&](uint32_t id) {
    return size(args.experts[id].gate) + size(args.experts[id].up);
  });
  if (args.shared != nullptr) {
    cost.bytes += size(args.shared->gate) + size(args.shared->up);
    cost.operations += 2.0 * 2.0 * elements(args.shared->gate) * args.x.rows;
  }
  return cost;
}

Cost op_cost(const ExpertDownArgs& args) {
  const Weight& down = args.experts[0].down;
  Cost cost{
      .bytes = size(args.hidden) + size(args.y) + size(args.shared_hidden) + size(args.shared_y),
      .operations = 2.0 * elements(down) * args.hidden.rows};
  cost.bytes += touched(args.ids, args.hidden.rows, args.expert_count,
                        [&](uint32_t id) { return size(args.experts[id].down); });
  if (args.shared != nullptr) {
    cost.bytes += size(args.shared->down);
    cost.operations += 2.0 * elements(args.shared->down) * args.shared_hidden.rows;
  }
  return cost;
}

Cost op_cost(const ExpertCombineArgs& args) {
  return {.bytes = size(args.y) + size(args.shared) + size(args.out)};
}

Cost op_cost(const SwigluArgs& args) {
  return {.bytes = size(args.gate) + size(args.up) + size(args.out)};
}

Cost op_cost(const CopyRowsArgs& args) {
  return {.bytes = 2.0 * args.count * args.x.cols * dtype_bits(args.x.dtype) / 8};
}

Cost op_cost(const SampleArgs& args) { return {.bytes = size(args.logits)}; }

}  // namespace dsv3::bench
