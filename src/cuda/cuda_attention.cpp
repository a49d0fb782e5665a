// MLA on the GPU: which launches, over which rows and keys, in which scratch. The kernels decide by
// shape alone whether tensor cores take part.
#include <algorithm>

#include "base/checked.h"
#include "base/error.h"
#include "cuda/cuda_ops_impl.h"
#include "kernels/mla_append.h"
#include "kernels/mla_decode.h"
#include "kernels/mla_prefill.h"

namespace dsv3 {
namespace {

// Room for partial results of splits after a row's first. 32 MiB hold 65,000 keys of 128 heads or
// 520,000 of 16; rows that find none are folded by one block a head group, to the same bits.
constexpr uint64_t kExtraBytes = uint64_t{32} << 20;

constexpr uint32_t round_up(uint32_t value, uint32_t step) { return ceil_div(value, step) * step; }

uint32_t splits_max(const OpsLimits& limits) {
  return std::max(1u, ceil_div(limits.positions_max, kernels::kSplitTokens));
}

uint32_t element_bytes(DType act) { return act == DType::kF32 ? 4 : 2; }

// Elements between rows that are 16-byte aligned.
uint32_t aligned_stride(uint32_t cols) { return round_up(cols, 8); }

uint32_t carried_stride(const MlaShape& shape) { return round_up(shape.value_dim + 2, 4); }

const kernels::Span* kernel_spans(const Batch& batch) {
  return reinterpret_cast<const kernels::Span*>(batch.spans);
}

void check_limits(const MlaAttendArgs& args, const OpsLimits& limits) {
  const auto check = [](const char* limit, uint32_t found, uint32_t maximum) {
    if (found <= maximum) return;
    fail(Status::kInternal, "mla_attend: ", limit, " is ", found, ", reserved ", maximum);
  };
  check("rows_max", args.batch.rows, limits.rows_max);
  check("mla.heads", args.shape.heads, limits.mla.heads);
  check("mla.nope_dim", args.shape.nope_dim, limits.mla.nope_dim);
  check("mla.rope_dim", args.shape.rope_dim, limits.mla.rope_dim);
  check("mla.value_dim", args.shape.value_dim, limits.mla.value_dim);
  check("mla.latent_rank", args.shape.latent_rank, limits.mla.latent_rank);
  check("act bytes", element_bytes(args.q.dtype), element_bytes(limits.act));
}

bool has_absorbed(const Batch& batch, uint32_t begin, uint32_t end) {
  if (batch.unabsorbed_rows == 0) return true;  // may be recorded: the host's spans tell nothing
  for (uint32_t s = 0; s < batch.span_count; ++s) {
    const BatchSpan& span = batch.host_spans[s];
    const bool meets = span.row_begin < end && begin < span.row_begin + span.row_count;
    if (meets && span.form == AttentionForm::kAbsorbed) return true;
  }
  return false;
}

kernels::ConstMatrix read_only(const Rows& rows) { return kernel_matrix(ConstRows(rows)); }

std::byte* row_at(const void* data, DType dtype, uint64_t row, uint64_t stride) {
  auto* bytes = static_cast<std::byte*>(const_cast<void*>(data));
  return bytes + row * stride * element_bytes(dtype);
}

}  // namespace

AttentionScratch AttentionScratch::carve(Carver& carver, const OpsLimits& limits) {
  const MlaShape& shape = limits.mla;
  const uint64_t rank = shape.latent_rank;
  const uint64_t heads = shape.heads;
  AttentionScratch scratch;

  Carver absorbed = carver;
  const uint64_t slot_bytes = std::max<uint64_t>(1, heads * (rank + 2) * sizeof(float));
  const uint64_t wanted =
      std::min(limits.rows_max, kernels::kDecodeRows) * uint64_t{splits_max(limits) - 1};
  scratch.extra_slots = static_cast<uint32_t>(std::min(wanted, kExtraBytes / slot_bytes));
  const uint64_t slots = kernels::kDecodeRows + uint64_t{scratch.extra_slots};
  scratch.queries = absorbed.take<float>(kernels::kDecodeRows * heads * (rank + shape.rope_dim));
  scratch.plan = absorbed.take<kernels::SplitPlan>(kernels::kDecodeRows);
  scratch.items = absorbed.take<uint32_t>(1);
  scratch.sums = absorbed.take<float>(slots * heads * rank);
  scratch.states = absorbed.take<float>(slots * heads * 2);

  Carver unabsorbed = carver;
  const uint64_t element = element_bytes(limits.act);
  const uint32_t head_width = shape.nope_dim + shape.value_dim;
  scratch.chunk_keys =
      std::clamp(round_up(limits.positions_max, kPageTokens), kPageTokens, kExpandKeys);
  scratch.latents = unabsorbed.take<std::byte>(scratch.chunk_keys * element *
                                               aligned_stride(shape.latent_rank + shape.rope_dim));
  scratch.expanded = unabsorbed.take<std::byte>(scratch.chunk_keys * element *
                                                aligned_stride(shape.heads * head_width));
  scratch.carried = unabsorbed.take<float>(limits.rows_max * heads * carried_stride(shape));

  carver = absorbed.bytes() > unabsorbed.bytes() ? absorbed : unabsorbed;
  return scratch;
}

void CudaOps::do_mla_append(const MlaAppendArgs& args) {
  device_.enter();
  launched(kernels::launch_mla_append_any({.dims = kernel_dims(args.shape),
                                           .inv_freq = args.rope.inv_freq,
                                           .magnitude = args.rope.magnitude,
                                           .positions = args.batch.positions,
                                           .row_spans = args.batch.row_spans,
                                           .spans = kernel_spans(args.batch),
                                           .q = kernel_matrix(args.q),
                                           .z = kernel_matrix(args.z),
                                           .norm = kernel_weights(args.latent_norm),
                                           .eps = args.eps,
                                           .pages = kernel_pages(args.pages)},
                                          stream()),
           "mla_append");
}

void CudaOps::do_mla_attend(const MlaAttendArgs& args) {
  check_limits(args, scratch_.limits);
  device_.enter();
  if (args.batch.unabsorbed_rows < args.batch.rows) attend_absorbed(args);
  if (args.batch.unabsorbed_rows > 0) attend_unabsorbed(args);
}

// Nothing here depends on positions: what is recorded once serves as they grow.
void CudaOps::attend_absorbed(const MlaAttendArgs& args) {
  const AttentionScratch& scratch = scratch_.attention;
  kernels::MlaDecodeParams params{.dims = kernel_dims(args.shape),
                                  .row_spans = args.batch.row_spans,
                                  .spans = kernel_spans(args.batch),
                                  .q = kernel_matrix(args.q),
                                  .kv_b = kernel_weights(args.kv_b),
                                  .pages = kernel_pages(args.pages),
                                  .scale = args.scale,
                                  .out = kernel_matrix(args.out),
                                  .queries = scratch.queries,
                                  .plan = scratch.plan,
                                  .items = scratch.items,
                                  .sums = scratch.sums,
                                  .states = scratch.states,
                                  .extra_slots = scratch.extra_slots,
                                  .splits_max = splits_max(scratch_.limits),
                                  .multiprocessors = multiprocessors()};
  for (uint32_t begin = 0; begin < args.batch.rows; begin += kernels::kDecodeRows) {
    params.row_begin = begin;
    params.row_count = std::min(kernels::kDecodeRows, args.batch.rows - begin);
    if (!has_absorbed(args.batch, begin, begin + params.row_count)) continue;
    launched(kernels::launch_mla_absorb_any(params, stream()), "mla_absorb");
    launched(kernels::launch_mla_decode_any(params, stream()), "mla_decode");
    launched(kernels::launch_mla_combine_any(params, stream()), "mla_combine");
  }
}

void CudaOps::attend_unabsorbed(const MlaAttendArgs& args) {
  for (uint32_t s = 0; s < args.batch.span_count; ++s) {
    const BatchSpan& span = args.batch.host_spans[s];
    if (span.form != AttentionForm::kUnabsorbed) continue;
    const uint32_t end = span.position_begin + span.row_count;
    for (uint32_t key = 0; key < end; key += scratch_.attention.chunk_keys) {
      attend_chunk(args, span, key, std::min(scratch_.attention.chunk_keys, end - key));
    }
  }
}

// All rows of a span against `keys` keys from position `key_begin` on.
void CudaOps::attend_chunk(const MlaAttendArgs& args, const BatchSpan& span, uint32_t key_begin,
                           uint32_t keys) {
  const MlaShape& shape = args.shape;
  const AttentionScratch& scratch = scratch_.attention;
  const DType act = args.q.dtype;
  const Rows latents{.data = scratch.latents,
                     .dtype = act,
                     .rows = keys,
                     .cols = args.pages.width,
                     .stride = aligned_stride(args.pages.width)};
  const Rows expanded{.data = scratch.expanded,
                      .dtype = act,
                      .rows = keys,
                      .cols = args.kv_b.rows,
                      .stride = aligned_stride(args.kv_b.rows)};
  launched(kernels::launch_mla_gather_any({.dims = kernel_dims(shape),
                                           .pages = kernel_pages(args.pages),
                                           .page_numbers = span.pages,
                                           .key_begin = key_begin,
                                           .out = kernel_matrix(latents)},
                                          stream()),
           "mla_gather");
  multiply({latents.data, act, keys, shape.latent_rank, latents.stride}, {}, args.kv_b, expanded);
  kernels::ConstMatrix q = kernel_matrix(args.q);
  q.data = row_at(args.q.data, act, span.row_begin, args.q.stride);
  q.rows = span.row_count;
  kernels::Matrix out = kernel_matrix(args.out);
  out.data = row_at(args.out.data, act, span.row_begin, args.out.stride);
  out.rows = span.row_count;
  launched(kernels::launch_mla_prefill_any({.dims = kernel_dims(shape),
                                            .q = q,
                                            .position_begin = span.position_begin,
                                            .key_begin = key_begin,
                                            .latents = read_only(latents),
                                            .expanded = read_only(expanded),
                                            .scale = args.scale,
                                            .states = scratch.carried,
                                            .state_stride = carried_stride(shape),
                                            .out = out},
                                           stream()),
           "mla_prefill");
}

}  // namespace dsv3
