// The absorbed form of MLA: the query moves through W_UK to the latents, attention reads the cache
// as it is (one shared key head), the result moves through W_UV (spec §2.5). One row, a few heads.
#include <algorithm>

#include "cpu/cpu_attention.h"
#include "cpu/cpu_latents.h"
#include "cpu/cpu_ops_impl.h"

namespace dsv3 {
namespace {

// out[c] += sum over i of coef[i] * weight[first + i][c], i ascending; FP8 scales enter the
// coefficients, block of columns by block of columns.
void add_transposed(const Panel& panel, const Weight& weight, uint32_t first, const float* coef,
                    uint32_t count, float* out) {
  const auto format = static_cast<uint32_t>(row_format(weight.dtype));
  const auto sum = panel.kernels.weighted_sum[format];
  const uint64_t element = dtype_bits(weight.dtype) / 8;
  const auto* rows = static_cast<const std::byte*>(weight.data) + first * weight.stride * element;
  if (weight.scales == nullptr) {
    sum(coef, count, rows, weight.stride, weight.cols, out);
    return;
  }
  float* scaled = panel.scratch.row_b;
  for (uint32_t begin = 0; begin < weight.cols; begin += kBlock) {
    for (uint32_t i = 0; i < count; ++i) {
      const uint64_t block = (first + i) / kBlock * weight.scale_stride + begin / kBlock;
      scaled[i] = coef[i] * weight.scales[block];
    }
    sum(scaled, count, rows + begin, weight.stride, std::min(kBlock, weight.cols - begin),
        out + begin);
  }
}

}  // namespace

void absorb_nope(const Panel& panel, const Weight& kv_b, uint32_t first, const QueryPart& nope,
                 float* out) {
  float* coef = panel.scratch.row_a;
  panel.to_f32(nope.data, nope.dtype, nope.count, coef);
  std::fill_n(out, kv_b.cols, 0.0f);
  add_transposed(panel, kv_b, first, coef, nope.count, out);
}

namespace {

// query [Rkv + dr] of one head: W_UK^T q_nope, then q_rope. FP32.
void absorb_query(const AttendTask& task, uint32_t head, const Panel& panel, float* query) {
  const MlaShape& shape = task.args.shape;
  const ConstRows& q = task.args.q;
  const uint64_t row = uint64_t{task.span.row_begin} + task.row_begin;
  const uint64_t begin = uint64_t{head} * (shape.nope_dim + shape.rope_dim);
  absorb_nope(panel, task.args.kv_b, head * (shape.nope_dim + shape.value_dim),
              {row_at(q, row, begin), q.dtype, shape.nope_dim}, query);
  panel.to_f32(row_at(q, row, begin + shape.nope_dim), q.dtype, shape.rope_dim,
               query + shape.latent_rank);
}

// out = W_UV latent of one head, rounded once.
void expand_value(const AttendTask& task, uint32_t head, const Panel& panel, const float* latent) {
  const MlaShape& shape = task.args.shape;
  const Rows& out = task.args.out;
  const uint64_t row = uint64_t{task.span.row_begin} + task.row_begin;
  PanelRows rows;
  rows.count = 1;
  rows.rows[0] = latent;
  rows.is_f32 = true;
  float* value = panel.scratch.row_a;
  const uint32_t first = head * (shape.nope_dim + shape.value_dim) + shape.nope_dim;
  panel.multiply(task.args.kv_b, first, shape.value_dim, rows, value, shape.value_dim);
  panel.store(value, out.dtype, shape.value_dim,
              row_at(out, row, uint64_t{head} * shape.value_dim));
}

}  // namespace

void CpuOps::attend_absorbed(const AttendTask& task, const Panel& panel) const {
  const MlaAttendArgs& args = task.args;
  const uint32_t rank = args.shape.latent_rank;
  const WorkerScratch& scratch = panel.scratch;
  float maxima[kHeadGroupMax];
  float sums[kHeadGroupMax];
  SoftmaxState states[kHeadGroupMax];
  PanelRows queries;
  queries.count = task.head_count;
  queries.is_f32 = true;
  for (uint32_t h = 0; h < task.head_count; ++h) {
    float* query = scratch.query + uint64_t{h} * args.pages.width;
    absorb_query(task, task.head_begin + h, panel, query);
    queries.rows[h] = query;
    states[h] = {maxima + h, sums + h, scratch.latent_sum + uint64_t{h} * rank, rank};
    states[h].clear();
  }
  const uint32_t end = task.span.position_begin + task.row_begin + 1;
  for (uint32_t begin = 0; begin < end; begin += kPageTokens) {
    const uint32_t keys = std::min(kPageTokens, end - begin);
    const LatentRows latents =
        latent_rows(panel, args.pages, args.shape, task.span.pages[begin / kPageTokens], keys);
    const RowFormat format = row_format(latents.dtype);
    panel.multiply({.data = latents.data,
                    .stride = latents.stride,
                    .format = format,
                    .rows = keys,
                    .cols = args.pages.width},
                   queries, scratch.scores, kPageTokens);
    for (uint32_t h = 0; h < task.head_count; ++h) {
      fold_page(kernels_, scratch.scores + size_t{h} * kPageTokens, keys, args.scale,
                {.data = latents.data, .format = format, .stride = latents.stride}, states[h]);
    }
  }
  for (uint32_t h = 0; h < task.head_count; ++h) {
    finish(kernels_, states[h]);
    expand_value(task, task.head_begin + h, panel, states[h].value);
  }
}

}  // namespace dsv3
