// How do generated rows attend over BF16 operands? The absorbed form (spec §2.5): sixteen heads of
// a row share a walk over the latents, and a long row's keys are cut into parts, so that several
// workers read them.
//
// Three loops: W_UK^T q of each head, for all rows (kv_b is read once); the parts of the keys; the
// parts combined and W_UV, again head by head.
//
// Floor of a layer of 16 heads, rank 512 and rope 64: kv_b once (4.2 MB), and for each row and key
// 34.8 kFLOP of BF16 products, 1152 bytes. Measured on a 2-core EPYC Zen 5 (1080 GFLOP/s, two
// threads, 2026-11-24, the op alone over 12 layers, latents from memory, best of 7, runs differ):
// 2048 keys add 90 to 98 us to a layer's 59 to 75, 1.36 to 1.48 x the floor of the products; 8 rows
// of 2048 keys 1.36 to 1.56 x; 128 heads 1.48 x. Fetching the next page while values are summed:
// 2.1 x to 1.6 x on one thread, and across the border of two parts to 1.4 x. Eight parts instead of
// four: 1.56 x instead of 1.48 x.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/checked.h"
#include "cpu/cpu_attention.h"
#include "cpu/cpu_latents.h"
#include "cpu/cpu_ops_impl.h"

namespace dsv3 {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr uint32_t kWeightRows = 16;  // of W_UK, multiplied while the next ones come from memory

const BatchSpan& span_of(const Batch& batch, uint32_t row) {
  const auto* end = batch.spans + batch.span_count;
  return *(std::upper_bound(batch.spans, end, row,
                            [](uint32_t r, const BatchSpan& span) { return r < span.row_begin; }) -
           1);
}

// How the keys of one row are cut: a function of their number alone.
struct Splits {
  uint32_t keys = 0;
  uint32_t part = kSplitKeysMin;
  uint32_t count = 0;

  uint32_t parts() const { return ceil_div(keys, part); }
  explicit Splits(uint32_t keys_in) : keys(keys_in) {
    while (parts() > kSplitsMax || (parts() > kSplitsFew && part < kSplitKeysFew)) part *= 2;
    count = parts();
  }
};

// The absorbed rows of one round, and where their intermediate results stand.
struct Round {
  const MlaAttendArgs& args;
  const AttendKernels& kernels;
  const CpuScratch& scratch;
  const uint32_t* rows = nullptr;  // [count] of the batch
  uint32_t count = 0;
  bool has_shared_parts = false;  // each part is a task of its own

  const MlaShape& shape() const { return args.shape; }
  uint32_t groups() const { return ceil_div(args.shape.heads, kLanes); }
  uint32_t width() const { return args.pages.width; }
  uint32_t keys_of(uint32_t i) const {
    const BatchSpan& span = span_of(args.batch, rows[i]);
    return span.position_begin + (rows[i] - span.row_begin) + 1;
  }
  uint16_t* query(uint32_t i, uint32_t head) const {
    return scratch.queries + (uint64_t{i} * shape().heads + head) * width();
  }
  float* mean(uint32_t i, uint32_t head) const {
    return scratch.latent_means + (uint64_t{i} * shape().heads + head) * shape().latent_rank;
  }
  float* split_sum(uint64_t slot) const {
    return scratch.split_sums + slot * kLanes * shape().latent_rank;
  }
  AttendState split_state(uint64_t slot, const Panel& panel) const {
    float* state = scratch.split_states + slot * 2 * kLanes;
    return {state, state + kLanes, panel.scratch.factors};
  }
};

// absorbed[l] = W_UK^T nopes[l], for `lanes` rows.
void absorb_bf16(const Round& round, uint32_t first, uint32_t lanes, const Panel& panel) {
  const Weight& weight = round.args.kv_b;
  const uint32_t nope = round.shape().nope_dim;
  const auto* rows = static_cast<const uint16_t*>(weight.data) + first * weight.stride;
  for (uint32_t k = 0; k < nope; k += kWeightRows) {
    const uint32_t count = std::min(kWeightRows, nope - k);
    round.kernels.values(
        {.rows = {rows + k * weight.stride, weight.stride, count, weight.cols},
         .p = panel.scratch.nopes + k,
         .pair_bytes = 2 * sizeof(uint16_t),
         .lane_bytes = uint64_t{nope} * sizeof(uint16_t),
         .lanes = lanes,
         .is_fresh = k == 0,
         .acc = panel.scratch.absorbed,
         .acc_stride = weight.cols,
         .prefetch_bytes = static_cast<int64_t>(kWeightRows * weight.stride * sizeof(uint16_t))});
  }
}

// Queries of one head of every row of the round, through W_UK. Rounded to BF16.
void absorb_head(const Round& round, uint32_t head, const Panel& panel) {
  const MlaShape& shape = round.shape();
  const uint64_t begin = uint64_t{head} * (shape.nope_dim + shape.rope_dim);
  const uint32_t first = head * (shape.nope_dim + shape.value_dim);
  for (uint32_t i = 0; i < round.count; i += kLanes) {
    const uint32_t lanes = std::min(kLanes, round.count - i);
    uint16_t* nopes = panel.scratch.nopes;
    float* absorbed = panel.scratch.absorbed;
    for (uint32_t l = 0; l < lanes; ++l) {
      std::memcpy(nopes + uint64_t{l} * shape.nope_dim,
                  row_at(round.args.q, round.rows[i + l], begin),
                  shape.nope_dim * sizeof(uint16_t));
    }
    if (round.args.kv_b.dtype == DType::kBF16) {
      absorb_bf16(round, first, lanes, panel);
    } else {
      for (uint32_t l = 0; l < lanes; ++l) {
        absorb_nope(panel, round.args.kv_b, first,
                    {.data = nopes + uint64_t{l} * shape.nope_dim,
                     .dtype = DType::kBF16,
                     .count = shape.nope_dim},
                    absorbed + uint64_t{l} * shape.latent_rank);
      }
    }
    for (uint32_t l = 0; l < lanes; ++l) {
      uint16_t* query = round.query(i + l, head);
      panel.kernels.to_bf16(absorbed + uint64_t{l} * shape.latent_rank, shape.latent_rank, query);
      std::memcpy(query + shape.latent_rank,
                  row_at(round.args.q, round.rows[i + l], begin + shape.nope_dim),
                  shape.rope_dim * sizeof(uint16_t));
    }
  }
}

void pack_group(const Round& round, uint32_t i, uint32_t group, const Panel& panel) {
  const uint16_t* rows[kLanes] = {};
  const uint32_t heads = round.shape().heads;
  for (uint32_t l = 0; l < kLanes && group * kLanes + l < heads; ++l) {
    rows[l] = round.query(i, group * kLanes + l);
  }
  round.kernels.pack(rows, round.width(), panel.scratch.lanes);
}

// How far behind a page's latents the next ones stand, in bytes; fetches what the loop over values
// does not pass. 0: nothing to fetch.
int64_t fetch_next(const Round& round, const LatentRows& latents, int32_t page, int32_t next) {
  if (page == next || round.args.pages.dtype == DType::kF8E4M3) return 0;
  const auto page_bytes = static_cast<int64_t>(round.args.pages.page_stride * sizeof(uint16_t));
  const int64_t ahead = (int64_t{next} - page) * page_bytes;
  for (uint32_t k = 0; k < kPageTokens; ++k) {
    for (uint32_t c = round.shape().latent_rank; c < round.width(); c += 32) {
      __builtin_prefetch(latents.at(k, c) + ahead, 0, 2);
    }
  }
  return ahead;
}

// Keys [begin, end) of one row. After them, its worker probably reads on at `next`.
struct Part {
  uint32_t begin = 0;
  uint32_t end = 0;
  uint32_t next = 0;
  uint32_t keys = 0;  // of the row

  Part(const Splits& splits, uint32_t index, uint32_t step)
      : begin(index * splits.part),
        end(std::min(begin + splits.part, splits.keys)),
        next((index + step) * splits.part),
        keys(splits.keys) {}
};

// The packed group of row i over a part of its keys, to a slot.
void attend_part(const Round& round, uint32_t i, const Part& part, uint64_t slot,
                 const Panel& panel) {
  const BatchSpan& span = span_of(round.args.batch, round.rows[i]);
  const uint32_t rank = round.shape().latent_rank;
  const AttendState state = round.split_state(slot, panel);
  std::fill_n(state.max, kLanes, -kInfinity);
  std::fill_n(state.sum, kLanes, 0.0f);
  for (uint32_t begin = part.begin; begin < part.end; begin += kPageTokens) {
    const uint32_t keys = std::min(kPageTokens, part.end - begin);
    const int32_t page = span.pages[begin / kPageTokens];
    const uint32_t next = begin + kPageTokens < part.end ? begin + kPageTokens : part.next;
    const LatentRows latents = latent_rows(panel, round.args.pages, round.shape(), page, keys);
    const int64_t ahead =
        fetch_next(round, latents, page, next < part.keys ? span.pages[next / kPageTokens] : page);
    AttendRows rows{reinterpret_cast<const uint16_t*>(latents.data), latents.stride, keys,
                    round.width()};
    round.kernels.scores({.rows = rows,
                          .lanes = {panel.scratch.lanes, nullptr},
                          .scores = {panel.scratch.scores, nullptr}});
    round.kernels.softmax({.scores = panel.scratch.scores,
                           .keys = keys,
                           .scale = round.args.scale,
                           .state = state,
                           .p = panel.scratch.weights});
    rows.width = rank;
    round.kernels.values({.rows = rows,
                          .p = panel.scratch.weights,
                          .pair_bytes = kLanes * sizeof(uint32_t),
                          .lane_bytes = sizeof(uint32_t),
                          .lanes = kLanes,
                          .factor = state.factor,
                          .is_fresh = begin == part.begin,
                          .acc = round.split_sum(slot),
                          .acc_stride = rank,
                          .prefetch_bytes = ahead});
  }
}

// Mean of the latents under one head's softmax, from the slots of its parts, ascending.
void combine(const Round& round, uint32_t lane, uint64_t slot, uint32_t count, const Panel& panel,
             float* mean) {
  const uint32_t rank = round.shape().latent_rank;
  float max = -kInfinity;
  for (uint32_t s = 0; s < count; ++s) {
    max = std::max(max, round.split_state(slot + s, panel).max[lane]);
  }
  float factors[kSplitsMax];
  float total = 0.0f;
  for (uint32_t s = 0; s < count; ++s) {
    const AttendState state = round.split_state(slot + s, panel);
    factors[s] = count == 1 ? 1.0f : std::exp(state.max[lane] - max);
    total += factors[s] * state.sum[lane];
  }
  for (uint32_t s = 0; s < count; ++s) factors[s] /= total;
  std::fill_n(mean, rank, 0.0f);
  panel.kernels.weighted_sum[static_cast<uint32_t>(RowFormat::kF32)](
      factors, count, round.split_sum(slot) + uint64_t{lane} * rank, uint64_t{kLanes} * rank, rank,
      mean);
}

// All parts of one group of one row by one worker, whose slots they take.
void attend_group(const Round& round, uint32_t i, uint32_t group, uint32_t worker,
                  const Panel& panel) {
  const Splits splits(round.keys_of(i));
  const uint64_t slot = uint64_t{worker} * kSplitSlots;
  pack_group(round, i, group, panel);
  for (uint32_t s = 0; s < splits.count; ++s) {
    attend_part(round, i, Part(splits, s, 1), slot + s, panel);
  }
  for (uint32_t l = 0; l < kLanes && group * kLanes + l < round.shape().heads; ++l) {
    combine(round, l, slot, splits.count, panel, round.mean(i, group * kLanes + l));
  }
}

// out = W_UV mean of one head of every row of the round, rounded once.
void expand_head(const Round& round, uint32_t head, const Panel& panel) {
  const MlaShape& shape = round.shape();
  PanelRows rows;
  rows.count = round.count;
  rows.is_f32 = true;
  for (uint32_t i = 0; i < round.count; ++i) {
    float* mean = round.mean(i, head);
    if (round.has_shared_parts) {
      const uint32_t* units = round.scratch.cached_units;
      const uint32_t parts = (units[i + 1] - units[i]) / round.groups();
      combine(round, head % kLanes, units[i] + uint64_t{head} / kLanes * parts, parts, panel, mean);
    }
    rows.rows[i] = mean;
  }
  float* values = panel.scratch.values;
  const uint32_t first = head * (shape.nope_dim + shape.value_dim) + shape.nope_dim;
  panel.multiply(round.args.kv_b, first, shape.value_dim, rows, values, shape.value_dim);
  for (uint32_t i = 0; i < round.count; ++i) {
    panel.store(values + uint64_t{i} * shape.value_dim, round.args.out.dtype, shape.value_dim,
                row_at(round.args.out, round.rows[i], uint64_t{head} * shape.value_dim));
  }
}

}  // namespace

void CpuOps::attend_bf16(const MlaAttendArgs& args) {
  attend_prompt(args);
  uint32_t count = 0;
  for (uint32_t s = 0; s < args.batch.span_count; ++s) {
    const BatchSpan& span = args.batch.spans[s];
    if (span.form != AttentionForm::kAbsorbed) continue;
    for (uint32_t r = 0; r < span.row_count; ++r)
      scratch_.cached_rows[count++] = span.row_begin + r;
  }
  for (uint32_t first = 0; first < count; first += kCachedRows) {
    attend_cached(args, first, std::min(kCachedRows, count - first));
  }
}

// Few rows: a task is one part of the keys of a row and group, unit units[i] + group * parts + part
// of row i. Many: a task is a row and group.
void CpuOps::attend_cached(const MlaAttendArgs& args, uint32_t first, uint32_t count) {
  Round round{.args = args,
              .kernels = *attend_,
              .scratch = scratch_,
              .rows = scratch_.cached_rows + first,
              .count = count};
  uint32_t* units = scratch_.cached_units;
  units[0] = 0;
  for (uint32_t i = 0; i < count; ++i) {
    units[i + 1] = units[i] + Splits(round.keys_of(i)).count * round.groups();
  }
  round.has_shared_parts = units[count] <= pool_.workers() * kSplitSlots;
  run(args.shape.heads,
      [&](uint32_t head, uint32_t worker) { absorb_head(round, head, panel(worker)); });
  if (round.has_shared_parts) {
    run(units[count], [&](uint32_t unit, uint32_t worker) {
      const auto i =
          static_cast<uint32_t>(std::upper_bound(units, units + count, unit) - units - 1);
      const Splits splits(round.keys_of(i));
      const Panel own = panel(worker);
      pack_group(round, i, (unit - units[i]) / splits.count, own);
      const Part part(splits, (unit - units[i]) % splits.count, pool_.workers());
      attend_part(round, i, part, unit, own);
    });
  } else {
    run(uint64_t{count} * round.groups(), [&](uint32_t task, uint32_t worker) {
      attend_group(round, task / round.groups(), task % round.groups(), worker, panel(worker));
    });
  }
  run(args.shape.heads,
      [&](uint32_t head, uint32_t worker) { expand_head(round, head, panel(worker)); });
}

}  // namespace dsv3
