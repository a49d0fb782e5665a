#include "model/transformer.h"

#include <algorithm>

#include "base/checked.h"

namespace dsv3 {
namespace {

OpsLimits ops_limits(const ModelConfig& config, const PassLimits& limits, DType act) {
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
  out.expert_width_max = config.expert_width;
  out.act = act;
  out.mla = mla;
  return out;
}

Activations carve(Carver& carver, const ModelConfig& config, const Ops& ops,
                  const PassLimits& limits, DType act) {
  return Activations::carve(carver, config, limits, act, ops.wants_codes());
}

uint64_t activation_bytes(const ModelConfig& config, const Ops& ops, const PassLimits& limits,
                          DType act) {
  Carver measure;
  carve(measure, config, ops, limits, act);
  return measure.bytes();
}

}  // namespace

TransformerBytes Transformer::bytes(const Device& device, const ModelConfig& config, const Ops& ops,
                                    const PassLimits& limits, DType act, DType cache_dtype) {
  const StagedBytes staged = PassStaging::bytes(device, limits);
  TransformerBytes bytes{.cache = LatentCache::bytes(config, cache_dtype, limits.page_count),
                         .activations = activation_bytes(config, ops, limits, act) + staged.device +
                                        ExpertTables::bytes(device, config),
                         .scratch = ops.scratch_bytes(ops_limits(config, limits, act)),
                         .host = staged.host};
  (device.reads_host_memory() ? bytes.activations : bytes.host) +=
      PassResults::bytes(device, limits.slots);
  return bytes;
}

Transformer::Transformer(const TransformerParts& parts, const PassLimits& limits, DType act,
                         DType cache_dtype)
    : parts_(parts),
      limits_(limits),
      cache_(parts.device, parts.config, cache_dtype, limits.page_count),
      block_(parts.device.allocate(activation_bytes(parts.config, parts.ops, limits, act),
                                   "activations")),
      buffers_([&] {
        Carver carver(block_);
        return carve(carver, parts.config, parts.ops, limits, act);
      }()),
      expert_tables_(parts.device, parts.config, parts.weights),
      staging_(parts.device, limits, {.tokens = buffers_.history, .stride = limits.positions_max}),
      results_(parts.device, limits.slots),
      recordings_(parts.device, limits) {
  if (parts.device.reads_host_memory()) block_.make_resident();
  pass_.buffers = &buffers_;
  mla_.reserve(parts.config.layers);
  for (const LayerWeights& layer : parts.weights.layers) {
    mla_.emplace_back(parts.config, layer.mla, buffers_.inv_freq);
  }
  parts_.ops.reserve(ops_limits(parts.config, limits, act));
  if (&parts_.expert_ops != &parts_.ops) {
    parts_.expert_ops.reserve(ops_limits(parts.config, limits, act));
  }
  send_constants();
}

// A pass may still be under way; its memory must not go before it has ended.
Transformer::~Transformer() {
  try {
    parts_.device.synchronize();
  } catch (...) {
    // A lost device does no more work.
  }
}

void Transformer::send_constants() {
  Device& device = parts_.device;
  const std::vector<float> inv_freq = rope_inv_freq(parts_.config);
  device.copy_to_device(buffers_.inv_freq, inv_freq.data(), inv_freq.size() * sizeof(float));
  device.synchronize();
  zero_counters();
}

void Transformer::zero_counters() {
  const uint64_t counters = uint64_t{parts_.config.layers} * parts_.config.router.experts;
  parts_.device.fill_zero(buffers_.expert_tokens, counters * sizeof(uint64_t));
  parts_.device.fill_zero(buffers_.nan_count, sizeof(uint32_t));
}

bool Transformer::prepare() {
  if (!is_prepared_) {
    expert_tables_.send(parts_.device);
    is_prepared_ = true;
    if (passes_ahead() != 0) touch_kernels();
  } else if (recordings_.next_rows() != 0) {
    record_decode(recordings_.next_rows());
  }
  return recordings_.next_rows() == 0;
}

// One row of each form, so that whatever a device sets up at first use is there before it records.
void Transformer::touch_kernels() {
  for (const AttentionForm form : {AttentionForm::kUnabsorbed, AttentionForm::kAbsorbed}) {
    const WarmUpInput input(limits_, 1, 0, form);
    begin(input.view());
    run_segment(0);
    wait_results();
  }
  zero_counters();
}

// From passes at the last position: what the host says of a recording's spans holds for all that it
// will stand for.
void Transformer::record_decode(uint32_t rows) {
  const WarmUpInput input(limits_, rows, limits_.positions_max - 1, AttentionForm::kAbsorbed);
  begin(input.view());
  DSV3_ASSERT(pass_.in.is_decode);
  recordings_.add(parts_.device.record([this] {
    for (uint32_t i = 0; i < part_count(); ++i) run_part(i);
  }));
}

void Transformer::begin(const PassInput& input) {
  DSV3_ASSERT(is_prepared_ && results_.has_room());
  pass_.in = staging_.send(input);
  in_slices_ = input.in_slices || passes_ahead() == 0;
}

uint32_t Transformer::segment_count() const { return in_slices_ ? part_count() : 1; }

void Transformer::run_segment(uint32_t index) {
  DSV3_ASSERT(index < segment_count());
  if (in_slices_) {
    run_part(index);
  } else {
    run_whole();
  }
  if (index + 1 == segment_count()) results_.send(buffers_.results, pass_.in.sample_count);
  if (in_slices_ && passes_ahead() != 0) parts_.device.synchronize();
}

void Transformer::run_whole() {
  Recording* const recording = pass_.in.is_decode ? recordings_.find(pass_.in.batch.rows) : nullptr;
  if (recording != nullptr) {
    parts_.device.replay(*recording);
    return;
  }
  for (uint32_t i = 0; i < part_count(); ++i) run_part(i);
}

void Transformer::run_part(uint32_t index) {
  const uint32_t layer = (index - 1) / 2;
  if (index == 0) {
    embed();
  } else if (index == part_count() - 1) {
    head();
  } else if (index % 2 == 1) {
    attention_part(layer);
  } else {
    ffn_part(layer);
  }
}

void Transformer::embed() {
  const PassArrays& in = pass_.in;
  parts_.ops.take_tokens({.rows = in.batch.rows,
                          .tokens = in.tokens,
                          .slots = in.slots,
                          .positions = in.batch.positions,
                          .history = buffers_.history,
                          .stride = limits_.positions_max});
  parts_.ops.embed({.tokens = in.tokens,
                    .table = parts_.weights.embed,
                    .out = first_rows(buffers_.residual, in.batch.rows)});
}

void Transformer::attention_part(uint32_t layer) {
  const uint32_t rows = pass_.in.batch.rows;
  if (rows == 0) return;
  // The first layer's norm has no branch output to add: its residual is the embedding.
  const ConstRows branch = layer == 0 ? ConstRows() : ConstRows(first_rows(buffers_.h, rows));
  parts_.ops.add_norm({.h = branch,
                       .residual = first_rows(buffers_.residual, rows),
                       .weight = parts_.weights.layers[layer].attention_norm,
                       .eps = parts_.config.norm_eps,
                       .out = first_rows(buffers_.x, rows),
                       .out_codes = buffers_.x_codes});
  mla_[layer].forward(parts_.ops, pass_, cache_.layer(layer));
}

void Transformer::ffn_part(uint32_t layer) {
  const uint32_t rows = pass_.in.batch.rows;
  if (rows == 0) return;
  const LayerWeights& weights = parts_.weights.layers[layer];
  parts_.ops.add_norm({.h = first_rows(buffers_.h, rows),
                       .residual = first_rows(buffers_.residual, rows),
                       .weight = weights.ffn_norm,
                       .eps = parts_.config.norm_eps,
                       .out = first_rows(buffers_.x, rows),
                       .out_codes = buffers_.x_codes});
  if (weights.is_moe) {
    const uint64_t first_counter = uint64_t{layer} * parts_.config.router.experts;
    moe_forward(parts_.ops, parts_.expert_ops, pass_, parts_.config, weights.moe,
                {.experts = expert_tables_.layer(layer),
                 .expert_tokens = buffers_.expert_tokens + first_counter});
  } else {
    mlp_forward(parts_.ops, pass_, weights.dense, first_rows(buffers_.h, rows));
  }
}

void Transformer::head() {
  store_last_rows();
  const PassArrays& in = pass_.in;
  if (in.sample_count == 0) return;
  const Rows sampled = first_rows(buffers_.sample_h, in.sample_count);
  const Rows logits = first_rows(buffers_.logits, in.sample_count);
  parts_.ops.copy_rows(
      {.x = buffers_.slot_h, .x_rows = in.sample_slots, .out = sampled, .count = in.sample_count});
  parts_.ops.linear({.x = sampled, .weight = parts_.weights.head, .y = logits});
  parts_.ops.sample({.logits = logits, .rows = in.sample_rows, .results = buffers_.results});
}

// Only the last row of each sequence is normed: it is what its next token is drawn from.
void Transformer::store_last_rows() {
  const PassArrays& in = pass_.in;
  if (in.last_count == 0) return;
  const Rows branch = first_rows(buffers_.shared, in.last_count);
  const Rows residual = first_rows(buffers_.x, in.last_count);
  const Rows normed = first_rows(buffers_.sample_h, in.last_count);
  parts_.ops.copy_rows(
      {.x = buffers_.h, .x_rows = in.last_rows, .out = branch, .count = in.last_count});
  parts_.ops.copy_rows(
      {.x = buffers_.residual, .x_rows = in.last_rows, .out = residual, .count = in.last_count});
  parts_.ops.add_norm({.h = branch,
                       .residual = residual,
                       .weight = parts_.weights.final_norm,
                       .eps = parts_.config.norm_eps,
                       .out = normed});
  parts_.ops.copy_rows(
      {.x = normed, .out = buffers_.slot_h, .out_rows = in.last_slots, .count = in.last_count});
}

std::span<const SampleResult> Transformer::wait_results() { return results_.wait(); }

void Transformer::logits(uint32_t slot, std::span<float> out) {
  DSV3_ASSERT(slot < limits_.slots && out.size() == parts_.config.vocab);
  DSV3_ASSERT(results_.in_flight() == 0);
  const Rows logits = one_row(buffers_.logits, 0);
  parts_.ops.linear(
      {.x = one_row(buffers_.slot_h, slot), .weight = parts_.weights.head, .y = logits});
  parts_.device.copy_to_host(out.data(), logits.data, out.size_bytes());
  parts_.device.synchronize();
}

std::vector<uint64_t> Transformer::expert_tokens() {
  std::vector<uint64_t> out(uint64_t{parts_.config.layers} * parts_.config.router.experts);
  parts_.device.copy_to_host(out.data(), buffers_.expert_tokens, out.size() * sizeof(uint64_t));
  parts_.device.synchronize();
  return out;
}

uint32_t Transformer::nan_count() {
  uint32_t out = 0;
  parts_.device.copy_to_host(&out, buffers_.nan_count, sizeof(out));
  parts_.device.synchronize();
  return out;
}

}  // namespace dsv3
