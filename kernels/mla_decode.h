// Attention of generated tokens, in the absorbed form (MlaAttendArgs): the query through W_UK, the
// cached latents in splits of 512 tokens, the folded splits through W_UV. Three launches, all of
// which find out on the device what there is to do, so that they can be recorded.
#pragma once

#include "kernels/common/kernel_types.h"
#include "kernels/common/launch.h"

namespace dsv3::kernels {

inline constexpr uint32_t kSplitTokens = 512;  // keys of one partial result, from position 0 on
inline constexpr uint32_t kDecodeRows = 64;    // rows of one launch at most

// What one row brings. Row r's split 0 has slot r, split s > 0 slot kDecodeRows + extra + s - 1.
struct SplitPlan {
  uint32_t splits = 0;      // 0: the row is not absorbed
  uint32_t item_begin = 0;  // work items of the rows before
  uint32_t extra = 0;       // splits after the first of the rows before
  uint32_t items = 0;       // splits, or 1: no room for them, one item folds all into slot r
};

struct MlaDecodeParams {
  MlaDims dims;
  uint32_t row_begin = 0;  // rows of the batch that this launch is about
  uint32_t row_count = 0;  // at most kDecodeRows
  const uint32_t* row_spans = nullptr;
  const Span* spans = nullptr;
  ConstMatrix q;  // [T, N*(dn+dr)]
  Weights kv_b;   // [N*(dn+dv), Rkv]
  Pages pages;
  float scale = 1.0f;
  Matrix out;  // [T, N*dv]
  // --- scratch
  void* queries = nullptr;    // [row_count, N, Rkv+dr] of decode_query_type()
  SplitPlan* plan = nullptr;  // [kDecodeRows]
  uint32_t* items = nullptr;  // [1] items of all rows
  float* sums = nullptr;      // [kDecodeRows + extra_slots, N, Rkv]
  float* states = nullptr;    // [kDecodeRows + extra_slots, N, 2] maximum (base 2), total
  uint32_t extra_slots = 0;   // splits that have a slot of their own, all rows together
  uint32_t splits_max = 0;    // of any row
  uint32_t multiprocessors = 1;
};

// BF16 where tensor cores take the scores, else F32. Depends on shapes and layouts alone.
Type decode_query_type(const MlaDecodeParams& params);

// queries[r, h] = [W_UK^T q_nope ; q_rope], and the plan.
int launch_mla_absorb_any(const MlaDecodeParams& params, gpu::Stream* stream);
// sums, states = partial softmax results of every split.
int launch_mla_decode_any(const MlaDecodeParams& params, gpu::Stream* stream);
// out[t, h] = W_UV (splits folded ascending / total).
int launch_mla_combine_any(const MlaDecodeParams& params, gpu::Stream* stream);

}  // namespace dsv3::kernels
