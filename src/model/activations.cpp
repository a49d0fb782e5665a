#include "model/activations.h"

#include <algorithm>

#include "base/checked.h"

namespace dsv3 {
namespace {

// Rows of 16-byte vectors, whatever the width.
constexpr uint64_t kStrideElements = 16;

Rows take_rows(Carver& carver, DType dtype, uint64_t rows, uint64_t cols) {
  const uint64_t stride = align_up(cols, kStrideElements);
  const uint64_t elements = mul_or_fail<uint64_t>(rows, stride, "elements of an activation buffer");
  const uint64_t bytes =
      mul_or_fail<uint64_t>(elements, dtype_bits(dtype) / 8, "bytes of an activation buffer");
  return {.data = carver.take<std::byte>(bytes),
          .dtype = dtype,
          .rows = narrow<uint32_t>(rows, "rows of an activation buffer"),
          .cols = narrow<uint32_t>(cols, "columns of an activation buffer"),
          .stride = stride};
}

QuantRows take_codes(Carver& carver, uint64_t rows, uint64_t cols) {
  const uint64_t stride = align_up(cols, kBlock);
  const uint64_t codes = mul_or_fail<uint64_t>(rows, stride, "bytes of an activation buffer");
  return {.codes = carver.take<uint8_t>(codes),
          .scales = carver.take<float>(codes / kBlock),
          .stride = stride,
          .scale_stride = stride / kBlock};
}

}  // namespace

Activations Activations::carve(Carver& carver, const ModelConfig& config, const PassLimits& limits,
                               DType act, bool wants_codes) {
  const uint64_t rows = limits.rows_max;
  const uint64_t slots = limits.slots;
  const uint64_t k = config.router.experts > 0 ? config.router.experts_per_token : 0;
  const uint64_t shared_width = uint64_t{config.shared_experts} * config.expert_width;
  const uint64_t mlp_width = std::max<uint64_t>(config.dense_width, shared_width);
  const MlaShape& mla = config.mla;
  Activations a;
  a.residual = take_rows(carver, act, rows, config.hidden);
  a.x = take_rows(carver, act, rows, config.hidden);
  if (wants_codes) a.x_codes = take_codes(carver, rows, config.hidden);
  a.h = take_rows(carver, act, rows, config.hidden);
  a.q_low = take_rows(carver, act, rows, std::max(config.query_rank, 1u));
  a.q = take_rows(carver, act, rows, uint64_t{mla.heads} * (mla.nope_dim + mla.rope_dim));
  a.z = take_rows(carver, act, rows, mla.latent_rank + mla.rope_dim);
  a.attended = take_rows(carver, act, rows, uint64_t{mla.heads} * mla.value_dim);
  a.gate = take_rows(carver, act, rows, mlp_width);
  a.up = take_rows(carver, act, rows, mlp_width);
  a.shared = take_rows(carver, act, rows, config.hidden);
  a.expert_hidden = take_rows(carver, act, rows * k, std::max(config.expert_width, 1u));
  a.expert_y = take_rows(carver, act, rows * k, config.hidden);
  a.expert_ids = carver.take<int32_t>(rows * k);
  a.expert_weights = carver.take<float>(rows * k);
  a.slot_h = take_rows(carver, act, slots, config.hidden);
  a.sample_h = take_rows(carver, act, slots, config.hidden);
  a.logits = take_rows(carver, DType::kF32, slots, config.vocab);
  a.results = carver.take<SampleResult>(slots);
  a.history = carver.take<int32_t>(slots * limits.positions_max);
  a.inv_freq = carver.take<float>(mla.rope_dim / 2);
  a.expert_tokens = carver.take<uint64_t>(uint64_t{config.layers} * config.router.experts);
  a.nan_count = carver.take<uint32_t>(1);
  return a;
}

}  // namespace dsv3
