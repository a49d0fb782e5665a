#include "model/transformer.h"

#include <algorithm>
#include <cstring>

#include "base/checked.h"

namespace dsv3 {
namespace {

OpsLimits ops_limits(const ModelConfig& config, const PassLimits& limits) {
  const MlaShape& mla = config.mla;
  OpsLimits out;
  out.rows_max = limits.rows_max;
  out.sample_rows_max = limits.slots;
  out.positions_max = limits.positions_max;
  out.linear_in_max =
      std::max({config.hidden, config.query_rank, mla.latent_rank, mla.heads * mla.value_dim,
                config.dense_width, config.expert_width * std::max(config.shared_experts, 1u)});
  out.expert_rows_max =
      narrow<uint32_t>(uint64_t{limits.rows_max} * config.router.experts_per_token,
                       "rows of a pass times experts per token");
  out.experts_max = config.router.experts;
  out.vocab = config.vocab;
  out.mla = mla;
  return out;
}

uint64_t activation_bytes(const ModelConfig& config, const PassLimits& limits, DType act) {
  Carver measure;
  Activations::carve(measure, config, limits, act);
  return measure.bytes();
}

}  // namespace

TransformerBytes Transformer::bytes(const ModelConfig& config, const Ops& ops,
                                    const PassLimits& limits, DType act, DType cache_dtype) {
  return {.cache = LatentCache::bytes(config, cache_dtype, limits.page_count),
          .activations = activation_bytes(config, limits, act),
          .scratch = ops.scratch_bytes(ops_limits(config, limits))};
}

Transformer::Transformer(const TransformerParts& parts, const PassLimits& limits, DType act,
                         DType cache_dtype)
    : parts_(parts),
      limits_(limits),
      inv_freq_(rope_inv_freq(parts.config)),
      cache_(parts.device, parts.config, cache_dtype, limits.page_count),
      block_(parts.device.allocate(activation_bytes(parts.config, limits, act), "activations")) {
  Carver carver(block_);
  buffers_ = Activations::carve(carver, parts.config, limits, act);
  const uint64_t counters = uint64_t{parts.config.layers} * parts.config.router.experts;
  std::fill_n(buffers_.expert_tokens, counters, 0);
  *buffers_.nan_count = 0;
  pass_.buffers = &buffers_;
  mla_.reserve(parts.config.layers);
  for (const LayerWeights& layer : parts.weights.layers) {
    mla_.emplace_back(parts.config, layer.mla, inv_freq_.data());
  }
  parts_.ops.reserve(ops_limits(parts.config, limits));
  if (&parts_.expert_ops != &parts_.ops) {
    parts_.expert_ops.reserve(ops_limits(parts.config, limits));
  }
}

void Transformer::begin(const PassInput& input) {
  pass_.batch = {
      .tokens = buffers_.tokens, .positions = buffers_.positions, .spans = buffers_.spans};
  last_count_ = 0;
  for (const PassSpan& span : input.spans) add_span(span);
  DSV3_ASSERT(input.samples.size() <= limits_.slots);
  sample_count_ = 0;
  for (const PassSample& sample : input.samples) {
    DSV3_ASSERT(sample.slot < limits_.slots);
    buffers_.sample_slots[sample_count_] = sample.slot;
    buffers_.sample_rows[sample_count_++] = sample.row;
  }
}

void Transformer::add_span(const PassSpan& span) {
  Batch& batch = pass_.batch;
  const auto count = static_cast<uint32_t>(span.tokens.size());
  DSV3_ASSERT(count > 0 && count <= limits_.rows_max - batch.rows);
  DSV3_ASSERT(span.pages.size() * kPageTokens >= uint64_t{span.position_begin} + count);
  buffers_.spans[batch.span_count++] = {.row_begin = batch.rows,
                                        .row_count = count,
                                        .position_begin = span.position_begin,
                                        .form = span.form,
                                        .pages = span.pages.data()};
  for (uint32_t i = 0; i < count; ++i) {
    buffers_.tokens[batch.rows + i] = span.tokens[i];
    buffers_.positions[batch.rows + i] = span.position_begin + i;
  }
  batch.rows += count;
  if (!span.last_of_slot) return;
  DSV3_ASSERT(last_count_ < limits_.slots && span.slot < limits_.slots);
  buffers_.last_rows[last_count_] = batch.rows - 1;
  buffers_.last_slots[last_count_++] = span.slot;
}

uint32_t Transformer::segment_count() const { return 2 * parts_.config.layers + 2; }

void Transformer::run_segment(uint32_t index) {
  DSV3_ASSERT(index < segment_count());
  const uint32_t layer = (index - 1) / 2;
  if (index == 0) {
    embed();
  } else if (index == segment_count() - 1) {
    head();
  } else if (index % 2 == 1) {
    attention_part(layer);
  } else {
    ffn_part(layer);
  }
}

void Transformer::embed() {
  parts_.ops.embed({.tokens = pass_.batch.tokens,
                    .table = parts_.weights.embed,
                    .out = first_rows(buffers_.residual, pass_.batch.rows)});
}

void Transformer::attention_part(uint32_t layer) {
  const uint32_t rows = pass_.batch.rows;
  if (rows == 0) return;
  // The first layer's norm has no branch output to add: its residual is the embedding.
  const ConstRows branch = layer == 0 ? ConstRows() : ConstRows(first_rows(buffers_.h, rows));
  parts_.ops.add_norm({.h = branch,
                       .residual = first_rows(buffers_.residual, rows),
                       .weight = parts_.weights.layers[layer].attention_norm,
                       .eps = parts_.config.norm_eps,
                       .out = first_rows(buffers_.x, rows)});
  mla_[layer].forward(parts_.ops, pass_, cache_.layer(layer));
}

void Transformer::ffn_part(uint32_t layer) {
  const uint32_t rows = pass_.batch.rows;
  if (rows == 0) return;
  const LayerWeights& weights = parts_.weights.layers[layer];
  parts_.ops.add_norm({.h = first_rows(buffers_.h, rows),
                       .residual = first_rows(buffers_.residual, rows),
                       .weight = weights.ffn_norm,
                       .eps = parts_.config.norm_eps,
                       .out = first_rows(buffers_.x, rows)});
  if (weights.is_moe) {
    moe_forward(parts_.ops, parts_.expert_ops, pass_, parts_.config, weights.moe,
                buffers_.expert_tokens + uint64_t{layer} * parts_.config.router.experts);
  } else {
    mlp_forward(parts_.ops, pass_, weights.dense, first_rows(buffers_.h, rows));
  }
}

void Transformer::head() {
  store_last_rows();
  if (sample_count_ == 0) return;
  const Rows sampled = first_rows(buffers_.sample_h, sample_count_);
  const Rows logits = first_rows(buffers_.logits, sample_count_);
  parts_.ops.copy_rows({.x = buffers_.slot_h,
                        .x_rows = buffers_.sample_slots,
                        .out = sampled,
                        .count = sample_count_});
  parts_.ops.linear({.x = sampled, .weight = parts_.weights.head, .y = logits});
  parts_.ops.sample({.logits = logits, .rows = buffers_.sample_rows, .results = buffers_.results});
}

// Only the last row of each sequence is normed: it is what its next token is drawn from.
void Transformer::store_last_rows() {
  if (last_count_ == 0) return;
  const Rows branch = first_rows(buffers_.shared, last_count_);
  const Rows residual = first_rows(buffers_.x, last_count_);
  const Rows normed = first_rows(buffers_.sample_h, last_count_);
  parts_.ops.copy_rows(
      {.x = buffers_.h, .x_rows = buffers_.last_rows, .out = branch, .count = last_count_});
  parts_.ops.copy_rows({.x = buffers_.residual,
                        .x_rows = buffers_.last_rows,
                        .out = residual,
                        .count = last_count_});
  parts_.ops.add_norm({.h = branch,
                       .residual = residual,
                       .weight = parts_.weights.final_norm,
                       .eps = parts_.config.norm_eps,
                       .out = normed});
  parts_.ops.copy_rows(
      {.x = normed, .out = buffers_.slot_h, .out_rows = buffers_.last_slots, .count = last_count_});
}

std::span<const SampleResult> Transformer::results() const {
  return {buffers_.results, sample_count_};
}

void Transformer::logits(uint32_t slot, std::span<float> out) {
  DSV3_ASSERT(slot < limits_.slots && out.size() == parts_.config.vocab);
  const Rows sampled = first_rows(buffers_.sample_h, 1);
  const Rows logits = first_rows(buffers_.logits, 1);
  parts_.ops.copy_rows({.x = buffers_.slot_h, .x_rows = &slot, .out = sampled, .count = 1});
  parts_.ops.linear({.x = sampled, .weight = parts_.weights.head, .y = logits});
  parts_.device.copy_to_host(out.data(), logits.data, out.size_bytes());
  parts_.device.synchronize();
}

std::span<const uint64_t> Transformer::expert_tokens() const {
  return {buffers_.expert_tokens, uint64_t{parts_.config.layers} * parts_.config.router.experts};
}

}  // namespace dsv3
