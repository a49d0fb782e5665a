#include "formulas.h"

#include <cmath>

namespace dsv3::bench {
namespace {

double weights_of_token(const ActiveWeights& w) {
  return w.attention + w.dense + w.shared + w.router + w.expert * w.experts_used;
}

double weight_bytes(const ActiveWeights& w, const StoredBytes& stored, double rows) {
  const double experts = expected_experts(w.experts, w.experts_used, rows);
  return (w.attention + w.dense + w.shared + w.expert * experts) * stored.projection +
         (w.router + w.head) * stored.plain;
}

}  // namespace

ActiveWeights active_weights(const ModelConfig& config) {
  const MlaShape& mla = config.mla;
  const double hidden = config.hidden;
  const double q_width = double{1} * mla.heads * (mla.nope_dim + mla.rope_dim);
  const double q =
      config.query_rank == 0 ? hidden * q_width : config.query_rank * (hidden + q_width);
  ActiveWeights w;
  w.kv_b = double{1} * mla.heads * (mla.nope_dim + mla.value_dim) * mla.latent_rank * config.layers;
  w.attention = (q + hidden * (mla.latent_rank + mla.rope_dim) +
                 double{1} * mla.heads * mla.value_dim * hidden) *
                    config.layers +
                w.kv_b;
  w.experts = config.router.experts;
  w.experts_used = config.router.experts_per_token;
  w.head = double{1} * config.vocab * hidden;
  for (uint32_t layer = 0; layer < config.layers; ++layer) {
    if (!config.is_moe_layer(layer)) {
      w.dense += 3.0 * hidden * config.dense_width;
      continue;
    }
    w.shared += 3.0 * hidden * config.expert_width * config.shared_experts;
    w.router += w.experts * hidden;
    w.expert += 3.0 * hidden * config.expert_width;
  }
  return w;
}

double expected_experts(double experts, double used, double rows) {
  if (experts <= 0.0) return 0.0;
  return experts * (1.0 - std::pow(1.0 - used / experts, rows));
}

Cost decode_cost(const ModelConfig& config, const StoredBytes& stored, double batch,
                 double context) {
  const ActiveWeights w = active_weights(config);
  const MlaShape& mla = config.mla;
  Cost cost;
  cost.attention_bytes = batch * context * stored.latent_row * config.layers;
  cost.attention_ops =
      2.0 * mla.heads * (2.0 * mla.latent_rank + mla.rope_dim) * config.layers * batch * context;
  cost.bytes =
      weight_bytes(w, stored, batch) + batch * config.hidden * stored.plain + cost.attention_bytes;
  cost.operations = 2.0 * batch * (weights_of_token(w) + w.head) + cost.attention_ops;
  return cost;
}

Cost prefill_cost(const ModelConfig& config, const StoredBytes& stored, double batch, double tokens,
                  double context) {
  const ActiveWeights w = active_weights(config);
  const MlaShape& mla = config.mla;
  const double pairs = tokens * context + tokens * (tokens + 1.0) / 2.0;
  Cost cost;
  cost.attention_bytes = batch * (context + tokens) * stored.latent_row * config.layers;
  cost.attention_ops = 2.0 * mla.heads * (mla.nope_dim + mla.rope_dim + mla.value_dim) *
                       config.layers * pairs * batch;
  cost.bytes = weight_bytes(w, stored, batch * tokens) +
               batch * tokens * config.hidden * stored.plain + cost.attention_bytes;
  cost.operations =
      batch * (2.0 * tokens * weights_of_token(w) + 2.0 * context * w.kv_b + 2.0 * w.head) +
      cost.attention_ops;
  return cost;
}

StoredBytes stored_bytes(const ModelConfig& config, bool is_fp8, bool cache_is_fp8) {
  StoredBytes stored;
  if (is_fp8) stored.projection = kFp8Bytes;
  stored.latent_row = cache_is_fp8
                          ? static_cast<double>(latent_page_bytes_f8(config.mla)) / kPageTokens
                          : 2.0 * (config.mla.latent_rank + config.mla.rope_dim);
  return stored;
}

}  // namespace dsv3::bench
