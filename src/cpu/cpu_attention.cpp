// MLA over the paged latent cache: appending rows, cutting attention into tasks, and the unabsorbed
// form, which expands the latents of a page once per head for a block of query rows.
#include "cpu/cpu_attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "cpu/cpu_checks.h"
#include "cpu/cpu_latents.h"
#include "cpu/cpu_ops_impl.h"

namespace dsv3 {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// cos and sin of a position's angles. The angle is an FP32 product (spec §2.4); its cosine is taken
// in double, so that no library's FP32 cosine enters the result.
void rotation(const Rope& rope, uint32_t position, uint32_t pairs, float* cosines, float* sines) {
  for (uint32_t i = 0; i < pairs; ++i) {
    const float angle = static_cast<float>(position) * rope.inv_freq[i];
    cosines[i] = static_cast<float>(std::cos(static_cast<double>(angle))) * rope.magnitude;
    sines[i] = static_cast<float>(std::sin(static_cast<double>(angle))) * rope.magnitude;
  }
}

// The angles of a row's position. They depend on nothing else, so the first layer of a pass makes
// them for all: a double cosine and sine cost more than the rest of the row's append.
const float* angles_of(const CpuScratch& scratch, const Rope& rope, uint32_t row,
                       uint32_t position) {
  const uint32_t pairs = scratch.rope_pairs;
  float* angles = scratch.rope_angles + uint64_t{row} * scratch.limits.mla.rope_dim;
  if (scratch.rope_positions[row] != position) {
    rotation(rope, position, pairs, angles, angles + pairs);
    scratch.rope_positions[row] = position;
  }
  return angles;
}

// Forgets the angles when they were made for other frequencies.
void check_angles(CpuScratch& scratch, const Rope& rope, uint32_t pairs) {
  const bool is_same = scratch.rope_pairs == pairs && scratch.rope_magnitude == rope.magnitude &&
                       std::equal(rope.inv_freq, rope.inv_freq + pairs, scratch.rope_inv_freq);
  if (is_same) return;
  scratch.rope_pairs = pairs;
  scratch.rope_magnitude = rope.magnitude;
  std::copy_n(rope.inv_freq, pairs, scratch.rope_inv_freq);
  constexpr uint32_t kNoPosition = std::numeric_limits<uint32_t>::max();
  std::fill_n(scratch.rope_positions, scratch.limits.rows_max, kNoPosition);
}

const BatchSpan& span_of(const Batch& batch, uint32_t row) {
  const auto* end = batch.spans + batch.span_count;
  return *(std::upper_bound(batch.spans, end, row,
                            [](uint32_t r, const BatchSpan& span) { return r < span.row_begin; }) -
           1);
}

uint32_t blocks_of(const BatchSpan& span) {
  return (span.row_count + kQueryBlock - 1) / kQueryBlock;
}

}  // namespace

void SoftmaxState::clear() const {
  *max = -kInfinity;
  *sum = 0.0f;
  std::fill_n(value, width, 0.0f);
}

void fold_page(const CpuKernels& kernels, float* scores, uint32_t keys, float scale,
               const ValueRows& values, const SoftmaxState& state) {
  kernels.scale(scores, keys, scale);
  const float page_max = kernels.max(scores, keys);
  if (!(page_max <= *state.max)) {  // also for NaN, which then poisons the row as it should
    const float factor = *state.max == -kInfinity ? 0.0f : std::exp(*state.max - page_max);
    *state.max = page_max;
    *state.sum *= factor;
    kernels.scale(state.value, state.width, factor);
  }
  const float shift = *state.max == -kInfinity ? 0.0f : *state.max;
  *state.sum += kernels.exp_sum(scores, keys, shift);
  kernels.weighted_sum[static_cast<uint32_t>(values.format)](
      scores, keys, values.data, values.stride, state.width, state.value);
}

void finish(const CpuKernels& kernels, const SoftmaxState& state) {
  kernels.scale(state.value, state.width, 1.0f / *state.sum);
}

void CpuOps::do_mla_append(const MlaAppendArgs& args) {
  const MlaShape& shape = args.shape;
  const Batch& batch = args.batch;
  check_limit("mla_append", "mla width", std::max(args.z.cols, shape.nope_dim + shape.rope_dim),
              scratch_.width);
  check_limit("mla_append", "rows_max", batch.rows, scratch_.limits.rows_max);
  check_limit("mla_append", "mla.rope_dim", shape.rope_dim, scratch_.limits.mla.rope_dim);
  check_spans("mla_append", batch, args.pages);
  panel(0).weight_row(args.latent_norm, 0, scratch_.norm_weight);
  const uint32_t pairs = shape.rope_dim / 2;
  check_angles(scratch_, args.rope, pairs);
  const uint32_t head = shape.nope_dim + shape.rope_dim;
  const uint32_t rank = shape.latent_rank;
  run_rows(batch.rows, 4 * uint64_t{args.q.cols}, [&](uint32_t row, uint32_t worker) {
    const Panel panel = this->panel(worker);
    const float* cosines = angles_of(scratch_, args.rope, row, batch.positions[row]);
    const float* sines = cosines + pairs;
    float* values = panel.scratch.row_a;
    prefetch_row(args.z, uint64_t{row} + 1);
    if (args.q.dtype == DType::kBF16) {
      kernels_.rotate_bf16({.x = static_cast<uint16_t*>(row_at(args.q, row, shape.nope_dim)),
                            .stride = head,
                            .rows = shape.heads,
                            .pairs = pairs,
                            .cosines = cosines,
                            .sines = sines});
    } else {
      for (uint32_t h = 0; h < shape.heads; ++h) {
        void* part = row_at(args.q, row, uint64_t{h} * head + shape.nope_dim);
        panel.to_f32(part, args.q.dtype, shape.rope_dim, values);
        kernels_.rotate(values, pairs, cosines, sines);
        panel.store(values, args.q.dtype, shape.rope_dim, part);
      }
    }
    panel.to_f32(row_at(args.z, row), args.z.dtype, args.z.cols, values);
    const float mean = kernels_.sum_squares(values, rank) / static_cast<float>(rank);
    kernels_.mul_scaled(values, scratch_.norm_weight, 1.0f / std::sqrt(mean + args.eps), rank,
                        values);
    kernels_.rotate(values + rank, pairs, cosines, sines);
    const BatchSpan& span = span_of(batch, row);
    const uint32_t position = span.position_begin + (row - span.row_begin);
    store_latent(panel, args.pages, shape, span.pages[position / kPageTokens],
                 position % kPageTokens, values);
  });
}

// A task is a block of rows of an unabsorbed span for one head, or one row of an absorbed span for
// a group of heads. span_tasks[s] counts the tasks before span s.
void CpuOps::do_mla_attend(const MlaAttendArgs& args) {
  const MlaShape& shape = args.shape;
  const Batch& batch = args.batch;
  const OpsLimits& limits = scratch_.limits;
  check_limit("mla_attend", "rows_max", batch.rows, limits.rows_max);
  check_limit("mla_attend", "mla.heads", shape.heads, limits.mla.heads);
  check_limit("mla_attend", "mla.nope_dim", shape.nope_dim, limits.mla.nope_dim);
  check_limit("mla_attend", "mla.rope_dim", shape.rope_dim, limits.mla.rope_dim);
  check_limit("mla_attend", "mla.value_dim", shape.value_dim, limits.mla.value_dim);
  check_limit("mla_attend", "mla.latent_rank", shape.latent_rank, limits.mla.latent_rank);
  check_spans("mla_attend", batch, args.pages);
  if (attend_ != nullptr && args.q.dtype == DType::kBF16) {
    attend_bf16(args);
    return;
  }
  // Few rows: small groups, so that all workers have some; many rows: large ones, each walks the
  // cache.
  const uint64_t even = uint64_t{batch.rows} * shape.heads / (uint64_t{4} * pool_.workers());
  const auto group = static_cast<uint32_t>(std::clamp<uint64_t>(even, 1, kHeadGroupMax));
  const uint32_t groups = (shape.heads + group - 1) / group;
  uint32_t* begin = scratch_.span_tasks;
  begin[0] = 0;
  for (uint32_t s = 0; s < batch.span_count; ++s) {
    const BatchSpan& span = batch.spans[s];
    const bool absorbed = span.form == AttentionForm::kAbsorbed;
    const uint32_t tasks = absorbed ? span.row_count * groups : blocks_of(span) * shape.heads;
    begin[s + 1] = begin[s] + tasks;
  }
  run(begin[batch.span_count], [&](uint32_t task, uint32_t worker) {
    const auto s =
        static_cast<uint32_t>(std::upper_bound(begin, begin + batch.span_count, task) - begin - 1);
    const BatchSpan& span = batch.spans[s];
    const uint32_t index = task - begin[s];
    if (span.form == AttentionForm::kAbsorbed) {
      const uint32_t first = index % groups * group;
      attend_absorbed({.args = args,
                       .span = span,
                       .row_begin = index / groups,
                       .row_count = 1,
                       .head_begin = first,
                       .head_count = std::min(group, shape.heads - first)},
                      panel(worker));
    } else {
      const uint32_t first = index / shape.heads * kQueryBlock;
      attend_unabsorbed({.args = args,
                         .span = span,
                         .row_begin = first,
                         .row_count = std::min(kQueryBlock, span.row_count - first),
                         .head_begin = index % shape.heads,
                         .head_count = 1},
                        panel(worker));
    }
  });
}

namespace {

// keys [keys, dn+dr] and values [keys, dv] of one head from the first `keys` latents of a page.
void expand_page(const AttendTask& task, int32_t page, uint32_t keys, const Panel& panel) {
  const MlaAttendArgs& args = task.args;
  const MlaShape& shape = args.shape;
  const LatentRows latents = latent_rows(panel, args.pages, shape, page, keys);
  const DType act = latents.dtype;
  const uint64_t element = latents.element_bytes();
  const uint64_t key_width = uint64_t{shape.nope_dim} + shape.rope_dim;
  const uint32_t first = task.head_begin * (shape.nope_dim + shape.value_dim);
  for (uint32_t k = 0; k < keys; k += kRowBlock) {
    PanelRows rows;
    rows.count = std::min(kRowBlock, keys - k);
    for (uint32_t i = 0; i < rows.count; ++i) rows.rows[i] = latents.at(k + i);
    panel.prepare(rows, act, shape.latent_rank, row_format(args.kv_b.dtype));
    float tile[kRowBlock * kOutBlock];
    for (uint32_t o = 0; o < shape.nope_dim; o += kOutBlock) {
      const uint32_t count = std::min(kOutBlock, shape.nope_dim - o);
      panel.multiply(args.kv_b, first + o, count, rows, tile, kOutBlock);
      for (uint32_t i = 0; i < rows.count; ++i) {
        panel.store(tile + size_t{i} * kOutBlock, act, count,
                    panel.scratch.keys + ((k + i) * key_width + o) * element);
      }
    }
    float* values = panel.scratch.values + uint64_t{k} * shape.value_dim;
    panel.multiply(args.kv_b, first + shape.nope_dim, shape.value_dim, rows, values,
                   shape.value_dim);
    panel.round(values, act, rows.count * shape.value_dim);
  }
  for (uint32_t k = 0; k < keys; ++k) {
    std::memcpy(panel.scratch.keys + (k * key_width + shape.nope_dim) * element,
                latents.at(k, shape.latent_rank), shape.rope_dim * element);
  }
}

SoftmaxState state_of(const WorkerScratch& scratch, uint32_t row, uint32_t width) {
  return {.max = scratch.state_max + row,
          .sum = scratch.state_sum + row,
          .value = scratch.state_value + uint64_t{row} * width,
          .width = width};
}

// Scores of rows [begin, begin + count) of the block against the expanded page, folded row by row;
// a row takes the keys up to its own position and no more.
void attend_page(const AttendTask& task, uint32_t page_begin, uint32_t keys, uint32_t begin,
                 uint32_t count, const Panel& panel) {
  const MlaAttendArgs& args = task.args;
  const MlaShape& shape = args.shape;
  const uint32_t key_width = shape.nope_dim + shape.rope_dim;
  PanelRows rows;
  rows.count = count;
  for (uint32_t i = 0; i < count; ++i) {
    rows.rows[i] = row_at(args.q, uint64_t{task.span.row_begin} + task.row_begin + begin + i,
                          uint64_t{task.head_begin} * key_width);
  }
  const RowFormat format = row_format(args.q.dtype);
  panel.prepare(rows, args.q.dtype, key_width, format);
  panel.multiply({.data = panel.scratch.keys,
                  .stride = key_width,
                  .format = format,
                  .rows = keys,
                  .cols = key_width},
                 rows, panel.scratch.scores, kPageTokens);
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t position = task.span.position_begin + task.row_begin + begin + i;
    const uint32_t own_keys = std::min(keys, position + 1 - page_begin);
    fold_page(panel.kernels, panel.scratch.scores + size_t{i} * kPageTokens, own_keys, args.scale,
              {.data = panel.scratch.values, .stride = shape.value_dim},
              state_of(panel.scratch, begin + i, shape.value_dim));
  }
}

}  // namespace

void CpuOps::attend_unabsorbed(const AttendTask& task, const Panel& panel) const {
  const uint32_t width = task.args.shape.value_dim;
  for (uint32_t i = 0; i < task.row_count; ++i) state_of(panel.scratch, i, width).clear();
  const uint32_t first = task.span.position_begin + task.row_begin;  // position of the first row
  const uint32_t end = first + task.row_count;
  for (uint32_t page_begin = 0; page_begin < end; page_begin += kPageTokens) {
    const uint32_t keys = std::min(kPageTokens, end - page_begin);
    expand_page(task, task.span.pages[page_begin / kPageTokens], keys, panel);
    // Rows before the page's first key do not see it.
    const uint32_t begin = page_begin > first ? page_begin - first : 0;
    for (uint32_t i = begin; i < task.row_count; i += kRowBlock) {
      attend_page(task, page_begin, keys, i, std::min(kRowBlock, task.row_count - i), panel);
    }
  }
  for (uint32_t i = 0; i < task.row_count; ++i) {
    const SoftmaxState state = state_of(panel.scratch, i, width);
    finish(panel.kernels, state);
    panel.store(state.value, task.args.out.dtype, width,
                row_at(task.args.out, uint64_t{task.span.row_begin} + task.row_begin + i,
                       uint64_t{task.head_begin} * width));
  }
}

}  // namespace dsv3
