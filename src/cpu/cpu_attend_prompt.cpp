// How does a prompt attend over BF16 operands? For one head, a page of latents is expanded to keys
// and values once for all query rows of the task; sixteen rows at a time walk over it.
//
// Floor of a head of 128 + 64 and 128 values at rank 512: 262 kFLOP for each key and task, 640 for
// each pair of row and key seen. Measured on a 2-core EPYC Zen 5 (1080 GFLOP/s, two threads,
// 2026-11-24, the op alone, 512 rows of 16 heads, best of 7, runs differ): 740 to 850 GFLOP/s
// behind 0 tokens, 820 to 900 behind 512, 850 to 920 behind 1536.
#include <algorithm>
#include <cstring>
#include <limits>

#include "base/checked.h"
#include "cpu/cpu_latents.h"
#include "cpu/cpu_ops_impl.h"

namespace dsv3 {
namespace {

struct Page {
  const uint16_t* keys = nullptr;    // [count, dn+dr]
  const uint16_t* values = nullptr;  // [count, dv]
  uint32_t begin = 0;                // position of the first key
  uint32_t count = 0;
  bool is_finite = true;  // the values are
};

// Query rows of one head against all keys before them.
class PromptTask {
 public:
  PromptTask(const AttendTask& task, const AttendKernels& kernels, const Panel& panel)
      : task_(task),
        args_(task.args),
        shape_(task.args.shape),
        kernels_(kernels),
        panel_(panel),
        key_width_(shape_.nope_dim + shape_.rope_dim),
        weight_row_(task.head_begin * (shape_.nope_dim + shape_.value_dim)),
        first_(task.span.position_begin + task.row_begin) {}

  void run() {
    pack_weight();
    pack_queries();
    const uint32_t end = first_ + task_.row_count;
    for (uint32_t begin = 0; begin < end; begin += kPageTokens) {
      const Page page = expand_page(begin, std::min(kPageTokens, end - begin));
      // Rows before the page's first key do not see it.
      const uint32_t row = begin > first_ ? (begin - first_) / kLanes * kLanes : 0;
      for (uint32_t i = row; i < task_.row_count; i += 2 * kLanes) attend_page(page, i);
    }
    finish();
  }

 private:
  const uint16_t* query(uint32_t row) const {
    const uint64_t at = uint64_t{task_.span.row_begin} + task_.row_begin + row;
    return static_cast<const uint16_t*>(
        row_at(args_.q, at, uint64_t{task_.head_begin} * key_width_));
  }
  uint32_t* lanes(uint32_t row) const {
    return panel_.scratch.lanes + row / kLanes * packed_words(key_width_);
  }
  AttendState state(uint32_t row) const {
    return {panel_.scratch.state_max + row, panel_.scratch.state_sum + row, panel_.scratch.factors};
  }
  float* sums(uint32_t row) const {
    return panel_.scratch.state_value + uint64_t{row} * shape_.value_dim;
  }
  bool has_packed_weight() const { return args_.kv_b.dtype == DType::kBF16; }

  // Rows [first, first + outs) of kv_b in blocks of lanes.
  void pack_rows(uint32_t first, uint32_t outs, uint32_t* out) const {
    const auto* data = static_cast<const uint16_t*>(args_.kv_b.data);
    for (uint32_t o = 0; o < outs; o += kLanes) {
      const uint16_t* rows[kLanes] = {};
      for (uint32_t l = 0; l < std::min(kLanes, outs - o); ++l) {
        rows[l] = data + (uint64_t{first} + o + l) * args_.kv_b.stride;
      }
      kernels_.pack(rows, shape_.latent_rank, out + o / kLanes * packed_words(shape_.latent_rank));
    }
  }
  uint32_t* value_lanes() const {
    return panel_.scratch.weight_lanes +
           ceil_div(shape_.nope_dim, kLanes) * packed_words(shape_.latent_rank);
  }
  void pack_weight() const {
    if (!has_packed_weight()) return;
    pack_rows(weight_row_, shape_.nope_dim, panel_.scratch.weight_lanes);
    pack_rows(weight_row_ + shape_.nope_dim, shape_.value_dim, value_lanes());
  }

  void pack_queries() const {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    for (uint32_t i = 0; i < task_.row_count; i += kLanes) {
      const uint16_t* rows[kLanes] = {};
      for (uint32_t l = 0; l < std::min(kLanes, task_.row_count - i); ++l) rows[l] = query(i + l);
      kernels_.pack(rows, key_width_, lanes(i));
      std::fill_n(state(i).max, kLanes, -kInfinity);
      std::fill_n(state(i).sum, kLanes, 0.0f);
      std::fill_n(sums(i), uint64_t{kLanes} * shape_.value_dim, 0.0f);
    }
  }

  Page expand_page(uint32_t begin, uint32_t count) const {
    auto* keys = reinterpret_cast<uint16_t*>(panel_.scratch.keys);
    auto* values = reinterpret_cast<uint16_t*>(panel_.scratch.values);
    const LatentRows latents =
        latent_rows(panel_, args_.pages, shape_, task_.span.pages[begin / kPageTokens], count);
    if (has_packed_weight()) {
      AttendExpand expand{.rows = {reinterpret_cast<const uint16_t*>(latents.data), latents.stride,
                                   count, shape_.latent_rank},
                          .lanes = panel_.scratch.weight_lanes,
                          .outs = shape_.nope_dim,
                          .out = keys,
                          .out_stride = key_width_};
      kernels_.expand(expand);
      expand.lanes = value_lanes();
      expand.outs = shape_.value_dim;
      expand.out = values;
      expand.out_stride = shape_.value_dim;
      kernels_.expand(expand);
    } else {
      multiply_page(latents, count, keys, values);
    }
    for (uint32_t k = 0; k < count; ++k) {
      std::memcpy(keys + uint64_t{k} * key_width_ + shape_.nope_dim,
                  latents.at(k, shape_.latent_rank), shape_.rope_dim * sizeof(uint16_t));
    }
    // A value that is infinite or NaN must not reach the rows before it through 0 * value.
    const bool is_seen_by_all = begin + count <= first_ + 1;
    const bool is_finite =
        is_seen_by_all || kernels_.is_finite(values, uint64_t{count} * shape_.value_dim);
    return {keys, values, begin, count, is_finite};
  }

  // The same with a weight of another format.
  void multiply_page(const LatentRows& latents, uint32_t count, uint16_t* keys,
                     uint16_t* values) const {
    for (uint32_t k = 0; k < count; k += kRowBlock) {
      PanelRows rows;
      rows.count = std::min(kRowBlock, count - k);
      for (uint32_t i = 0; i < rows.count; ++i) rows.rows[i] = latents.at(k + i);
      panel_.prepare(rows, latents.dtype, shape_.latent_rank, row_format(args_.kv_b.dtype));
      multiply_rows(rows, weight_row_, shape_.nope_dim, keys + uint64_t{k} * key_width_,
                    key_width_);
      multiply_rows(rows, weight_row_ + shape_.nope_dim, shape_.value_dim,
                    values + uint64_t{k} * shape_.value_dim, shape_.value_dim);
    }
  }
  void multiply_rows(const PanelRows& rows, uint32_t first, uint32_t outs, uint16_t* out,
                     uint64_t stride) const {
    float tile[kRowBlock * kOutBlock];
    for (uint32_t o = 0; o < outs; o += kOutBlock) {
      const uint32_t count = std::min(kOutBlock, outs - o);
      panel_.multiply(args_.kv_b, first + o, count, rows, tile, kOutBlock);
      for (uint32_t i = 0; i < rows.count; ++i) {
        panel_.kernels.to_bf16(tile + size_t{i} * kOutBlock, count, out + i * stride + o);
      }
    }
  }

  // Two blocks of lanes, or one, from row `row` of the task.
  void attend_page(const Page& page, uint32_t row) const {
    const uint32_t rows = std::min(2 * kLanes, task_.row_count - row);
    const uint32_t seen = std::min(page.count, first_ + row + rows - page.begin);
    float* scores[2] = {panel_.scratch.scores,
                        panel_.scratch.scores + size_t{kPageTokens} * kLanes};
    const bool is_pair = rows > kLanes;
    kernels_.scores({.rows = {page.keys, key_width_, seen, key_width_},
                     .lanes = {lanes(row), is_pair ? lanes(row + kLanes) : nullptr},
                     .scores = {scores[0], scores[1]}});
    fold_page(page, row, scores[0]);
    if (is_pair) fold_page(page, row + kLanes, scores[1]);
  }

  void fold_page(const Page& page, uint32_t row, const float* scores) const {
    const uint32_t rows = std::min(kLanes, task_.row_count - row);
    const uint32_t position = first_ + row;
    if (position + rows <= page.begin) return;
    const uint32_t keys = std::min(page.count, position + rows - page.begin);
    uint32_t visible[kLanes] = {};
    for (uint32_t l = 0; l < rows; ++l) {
      const uint32_t end = position + l + 1;
      visible[l] = end > page.begin ? std::min(keys, end - page.begin) : 0;
    }
    const bool is_masked = visible[0] < keys || rows < kLanes;
    kernels_.softmax({.scores = scores,
                      .keys = keys,
                      .scale = args_.scale,
                      .visible = is_masked ? visible : nullptr,
                      .state = state(row),
                      .p = panel_.scratch.weights});
    add_values(page, row, keys, is_masked && !page.is_finite ? visible : nullptr);
  }

  // `visible` given: each lane by itself, over its own keys.
  void add_values(const Page& page, uint32_t row, uint32_t keys, const uint32_t* visible) const {
    AttendValues values{.rows = {page.values, shape_.value_dim, keys, shape_.value_dim},
                        .p = panel_.scratch.weights,
                        .pair_bytes = kLanes * sizeof(uint32_t),
                        .lane_bytes = sizeof(uint32_t),
                        .lanes = kLanes,
                        .factor = panel_.scratch.factors,
                        .acc = sums(row),
                        .acc_stride = shape_.value_dim};
    if (visible == nullptr) {
      kernels_.values(values);
      return;
    }
    values.lanes = 1;
    for (uint32_t l = 0; l < kLanes; ++l) {
      values.rows.count = visible[l];
      values.p = panel_.scratch.weights + l;
      values.factor = panel_.scratch.factors + l;
      values.acc = sums(row + l);
      kernels_.values(values);
    }
  }

  void finish() const {
    for (uint32_t i = 0; i < task_.row_count; ++i) {
      panel_.kernels.scale(sums(i), shape_.value_dim, 1.0f / panel_.scratch.state_sum[i]);
      panel_.kernels.to_bf16(sums(i), shape_.value_dim,
                             static_cast<uint16_t*>(row_at(
                                 args_.out, uint64_t{task_.span.row_begin} + task_.row_begin + i,
                                 uint64_t{task_.head_begin} * shape_.value_dim)));
    }
  }

  const AttendTask& task_;
  const MlaAttendArgs& args_;
  const MlaShape& shape_;
  const AttendKernels& kernels_;
  const Panel& panel_;
  const uint32_t key_width_;
  const uint32_t weight_row_;  // of kv_b, the head's first
  const uint32_t first_;       // position of the first row
};

uint32_t blocks_of(const BatchSpan& span, uint32_t block) {
  return span.form == AttentionForm::kUnabsorbed ? ceil_div(span.row_count, block) : 0;
}

}  // namespace

// A task is a block of query rows of one head. Each block expands all latents before its end, so
// blocks are cut only where there would be too few tasks for the workers.
void CpuOps::attend_prompt(const MlaAttendArgs& args) {
  const Batch& batch = args.batch;
  uint32_t* begin = scratch_.span_tasks;
  uint32_t tasks = 0;
  uint32_t block = kQueryBlock;
  for (;; block /= 2) {
    tasks = 0;
    for (uint32_t s = 0; s < batch.span_count; ++s) {
      begin[s] = tasks;
      tasks += blocks_of(batch.spans[s], block) * args.shape.heads;
    }
    begin[batch.span_count] = tasks;
    if (tasks >= 2 * pool_.workers() || block <= 4 * kLanes) break;
  }
  if (tasks == 0) return;
  run(tasks, [&](uint32_t task, uint32_t worker) {
    const auto s =
        static_cast<uint32_t>(std::upper_bound(begin, begin + batch.span_count, task) - begin - 1);
    const BatchSpan& span = batch.spans[s];
    const uint32_t index = task - begin[s];
    const uint32_t first = index / args.shape.heads * block;
    const AttendTask one{.args = args,
                         .span = span,
                         .row_begin = first,
                         .row_count = std::min(block, span.row_count - first),
                         .head_begin = index % args.shape.heads,
                         .head_count = 1};
    const Panel own = panel(worker);
    PromptTask(one, *attend_, own).run();
  });
}

}  // namespace dsv3
