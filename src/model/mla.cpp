#include "model/mla.h"

namespace dsv3 {

Mla::Mla(const ModelConfig& config, const MlaWeights& weights, const float* inv_freq)
    : config_(config),
      weights_(weights),
      rope_{.inv_freq = inv_freq, .magnitude = rope_magnitude(config)},
      scale_(softmax_scale(config)) {}

void Mla::forward(Ops& ops, const PassContext& pass, const LatentPages& pages) const {
  Activations& a = *pass.buffers;
  const uint32_t rows = pass.in.batch.rows;
  const Rows q = first_rows(a.q, rows);
  const Rows z = first_rows(a.z, rows);
  const Rows attended = first_rows(a.attended, rows);

  project(ops, pass);
  ops.mla_append({.shape = config_.mla,
                  .rope = rope_,
                  .batch = pass.in.batch,
                  .q = q,
                  .z = z,
                  .latent_norm = weights_.kv_a_norm,
                  .eps = config_.low_rank_norm_eps,
                  .pages = pages});
  ops.mla_attend({.shape = config_.mla,
                  .batch = pass.in.batch,
                  .q = q,
                  .kv_b = weights_.kv_b,
                  .pages = pages,
                  .scale = scale_,
                  .out = attended});
  ops.linear({.x = attended, .weight = weights_.o, .y = first_rows(a.h, rows)});
}

void Mla::project(Ops& ops, const PassContext& pass) const {
  Activations& a = *pass.buffers;
  const uint32_t rows = pass.in.batch.rows;
  const Rows x = first_rows(a.x, rows);
  const Rows q = first_rows(a.q, rows);
  const bool is_low_rank = config_.query_rank != 0;
  const Rows q_low = is_low_rank ? first_rows(a.q_low, rows) : q;
  const LinearArgs projections[] = {
      {.x = x,
       .x_codes = a.x_codes,
       .weight = is_low_rank ? weights_.q_a : weights_.q_b,
       .y = q_low},
      {.x = x, .x_codes = a.x_codes, .weight = weights_.kv_a, .y = first_rows(a.z, rows)}};
  ops.linears(projections);
  if (!is_low_rank) return;
  ops.rms_norm(
      {.x = q_low, .weight = weights_.q_a_norm, .eps = config_.low_rank_norm_eps, .out = q_low});
  ops.linear({.x = q_low, .weight = weights_.q_b, .y = q});
}

}  // namespace dsv3
