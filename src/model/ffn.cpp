#include "model/ffn.h"

namespace dsv3 {

void mlp_forward(Ops& ops, const PassContext& pass, const MlpWeights& weights, const Rows& out) {
  const Activations& a = *pass.buffers;
  const uint32_t rows = pass.in.batch.rows;
  const Rows x = first_rows(a.x, rows);
  const uint32_t width = weights.gate.rows;
  const Rows gate = first_rows(a.gate, rows, width);
  const Rows up = first_rows(a.up, rows, width);
  const LinearArgs projections[] = {
      {.x = x, .x_codes = a.x_codes, .weight = weights.gate, .y = gate},
      {.x = x, .x_codes = a.x_codes, .weight = weights.up, .y = up}};
  ops.linears(projections);
  ops.swiglu({.gate = gate, .up = up, .out = gate});
  ops.linear({.x = gate, .weight = weights.down, .y = out});
}

void moe_forward(Ops& ops, Ops& expert_ops, const PassContext& pass, const ModelConfig& config,
                 const MoeWeights& weights, const MoeLayer& layer) {
  const Activations& a = *pass.buffers;
  const uint32_t rows = pass.in.batch.rows;
  const uint32_t k = config.router.experts_per_token;
  const auto expert_count = static_cast<uint32_t>(weights.experts.size());
  const Rows x = first_rows(a.x, rows);
  const Rows hidden = first_rows(a.expert_hidden, rows * k);
  const Rows y = first_rows(a.expert_y, rows * k);
  const bool has_shared = config.shared_experts > 0;
  // Beside the routed experts where one device computes both and can; on its own otherwise.
  const bool is_beside = has_shared && &ops == &expert_ops && ops.takes_shared_expert();
  const ExpertWeights shared{weights.shared.gate, weights.shared.up, weights.shared.down};
  const Rows shared_y = has_shared ? first_rows(a.shared, rows) : Rows();
  const Rows shared_hidden = is_beside ? first_rows(a.gate, rows, shared.gate.rows) : Rows();

  ops.route({.shape = config.router,
             .x = x,
             .gate = weights.gate,
             .bias = static_cast<const float*>(weights.bias.data),
             .ids = a.expert_ids,
             .weights = a.expert_weights,
             .expert_tokens = layer.expert_tokens,
             .nan_count = a.nan_count});
  expert_ops.expert_gate_up({.x = x,
                             .x_codes = expert_ops.wants_codes() ? a.x_codes : QuantRows(),
                             .ids = a.expert_ids,
                             .experts_per_token = k,
                             .experts = layer.experts,
                             .expert_count = expert_count,
                             .hidden = hidden,
                             .shared = is_beside ? &shared : nullptr,
                             .shared_hidden = shared_hidden});
  expert_ops.expert_down({.hidden = hidden,
                          .ids = a.expert_ids,
                          .experts_per_token = k,
                          .experts = layer.experts,
                          .expert_count = expert_count,
                          .y = y,
                          .shared = is_beside ? &shared : nullptr,
                          .shared_hidden = shared_hidden,
                          .shared_y = is_beside ? shared_y : Rows()});
  if (has_shared && !is_beside) mlp_forward(ops, pass, weights.shared, shared_y);
  ops.expert_combine({.y = y,
                      .weights = a.expert_weights,
                      .experts_per_token = k,
                      .shared = shared_y,
                      .out = first_rows(a.h, rows)});
}

}  // namespace dsv3
