// queries[r, h, :Rkv] = sum over i < dn of q[r, h, i] * W_UK[h, i, :], queries[r, h, Rkv:] =
// q[r, h, dn:] for the absorbed rows of a launch (spec §2.5); and the plan of their splits.
//
// Who: grid (128 latents, head, 8 rows), 4 warps. A warp takes a quarter of the i, ascending, a
// lane four latents for all 8 rows; the quarters are added in order through shared memory. So a
// result's operations depend on dn alone. The first block also plans.
// Bytes: W_UK once for every 8 rows (V3, FP8: 8.4 MB; 16 heads: 1 MB); 2 * rows * N * dn * Rkv
// operations on FP32 units. Bound: memory up to about 8 rows. Not yet run on hardware.
//
// Queries for tensor cores are rounded to BF16, as the published absorbed path does (spec §2.5).
#include "kernels/common/device_code.h"
#include "kernels/common/numeric.h"
#include "kernels/load_all.h"
#include "kernels/mla_decode.h"
#include "kernels/weight_quad.h"

namespace dsv3::kernels {
namespace {

constexpr uint32_t kWarps = 4;
constexpr uint32_t kThreads = 32 * kWarps;
constexpr uint32_t kRows = 8;
constexpr uint32_t kColumns = 128;

struct Shared {
  float part[kWarps][kRows][kColumns];
  uint32_t splits[kDecodeRows];  // of the plan
  float query[1];                // [dn][kRows]
};

__device__ const Span& span_of(const MlaDecodeParams& params, uint32_t row) {
  return params.spans[params.row_spans[params.row_begin + row]];
}

__device__ uint32_t splits_of(const MlaDecodeParams& params, uint32_t row) {
  const Span& span = span_of(params, row);
  if (span.form == 0) return 0;
  const uint32_t position = span.position_begin + (params.row_begin + row - span.row_begin);
  return position / kSplitTokens + 1;
}

// Rows get slots for their splits in order, while there are any.
__device__ void plan_rows(const MlaDecodeParams& params, uint32_t (&splits)[kDecodeRows]) {
  for (uint32_t row = threadIdx.x; row < params.row_count; row += kThreads) {
    splits[row] = splits_of(params, row);
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  uint32_t items = 0;
  uint32_t extra = 0;
  for (uint32_t row = 0; row < params.row_count; ++row) {
    SplitPlan plan;
    plan.splits = splits[row];
    plan.item_begin = items;
    plan.extra = extra;
    const uint32_t more = plan.splits == 0 ? 0 : plan.splits - 1;
    plan.items = more == 0 || extra + more <= params.extra_slots ? plan.splits : 1;
    items += plan.items;
    extra += more;
    params.plan[row] = plan;
  }
  *params.items = items;
}

// Nope parts of the block's rows, [dn][kRows], zeros for rows without work. True if any has some.
__device__ bool load_queries(const MlaDecodeParams& params, uint32_t head, uint32_t row_begin,
                             float* query) {
  const uint64_t begin = uint64_t{head} * (params.dims.nope_dim + params.dims.rope_dim);
  bool any = false;
  for (uint32_t r = 0; r < kRows; ++r) {
    const uint32_t row = row_begin + r;
    const bool works = row < params.row_count && span_of(params, row).form != 0;
    any = any || works;
    const uint64_t at = (params.row_begin + row) * params.q.stride + begin;
    for (uint32_t i = threadIdx.x; i < params.dims.nope_dim; i += kThreads) {
      query[i * kRows + r] = works ? load_float(params.q.data, params.q.type, at + i) : 0.0f;
    }
  }
  return any;
}

// This warp's quarter of the sums of its columns.
__device__ void sum_quarter(const MlaDecodeParams& params, uint32_t head, const float* query,
                            float (&part)[kRows][kColumns]) {
  const uint32_t lane = threadIdx.x % 32;
  const uint32_t warp = threadIdx.x / 32;
  const uint32_t column = blockIdx.x * kColumns + lane * 4;
  const uint32_t weight_row = head * (params.dims.nope_dim + params.dims.value_dim);
  const uint32_t quarter = (params.dims.nope_dim + kWarps - 1) / kWarps;
  const uint32_t end = min(params.dims.nope_dim, (warp + 1) * quarter);
  float sums[kRows][4] = {};
  if (column < params.dims.latent_rank) {
    for (uint32_t i = warp * quarter; i < end; ++i) {
      float weights[4];
      load_quad(params.kv_b, weight_row + i, column, weights);
      for (uint32_t r = 0; r < kRows; ++r) {
        const float coefficient = query[i * kRows + r];
        for (uint32_t c = 0; c < 4; ++c) sums[r][c] = fmaf(coefficient, weights[c], sums[r][c]);
      }
    }
  }
  for (uint32_t r = 0; r < kRows; ++r) {
    for (uint32_t c = 0; c < 4; ++c) part[r][lane * 4 + c] = sums[r][c];
  }
}

__device__ void store_queries(const MlaDecodeParams& params, Type type, uint32_t head, uint32_t row,
                              const Shared& shared, uint32_t r) {
  const MlaDims& dims = params.dims;
  const uint32_t width = dims.latent_rank + dims.rope_dim;
  const uint64_t to = (uint64_t{row} * dims.heads + head) * width;
  for (uint32_t c = threadIdx.x; c < kColumns; c += kThreads) {
    const uint32_t column = blockIdx.x * kColumns + c;
    float sum = shared.part[0][r][c];
    for (uint32_t w = 1; w < kWarps; ++w) sum += shared.part[w][r][c];
    if (column < dims.latent_rank) store_float(params.queries, type, to + column, sum);
  }
  if (blockIdx.x != 0) return;
  const uint64_t from = (params.row_begin + row) * params.q.stride +
                        uint64_t{head} * (dims.nope_dim + dims.rope_dim) + dims.nope_dim;
  for (uint32_t i = threadIdx.x; i < dims.rope_dim; i += kThreads) {
    store_float(params.queries, type, to + dims.latent_rank + i,
                load_float(params.q.data, params.q.type, from + i));
  }
}

__global__ void __launch_bounds__(kThreads) mla_absorb(MlaDecodeParams params, Type type) {
  auto& shared = shared_memory<Shared>();
  const uint32_t head = blockIdx.y;
  const uint32_t row_begin = blockIdx.z * kRows;
  if (blockIdx.x == 0 && blockIdx.y == 0 && blockIdx.z == 0) plan_rows(params, shared.splits);
  if (!load_queries(params, head, row_begin, shared.query)) return;
  __syncthreads();
  sum_quarter(params, head, shared.query, shared.part[threadIdx.x / 32]);
  __syncthreads();
  for (uint32_t r = 0; r < kRows && row_begin + r < params.row_count; ++r) {
    if (span_of(params, row_begin + r).form == 0) continue;
    store_queries(params, type, head, row_begin + r, shared, r);
  }
}

}  // namespace

int launch_mla_absorb_any(const MlaDecodeParams& params, gpu::Stream* stream) {
  const uint32_t columns = (params.dims.latent_rank + kColumns - 1) / kColumns;
  const uint32_t rows = (params.row_count + kRows - 1) / kRows;
  const uint32_t query_bytes = params.dims.nope_dim * kRows * static_cast<uint32_t>(sizeof(float));
  return launch(mla_absorb,
                {.blocks = {columns, params.dims.heads, rows},
                 .threads = kThreads,
                 .shared_bytes = static_cast<uint32_t>(sizeof(Shared)) + query_bytes,
                 .stream = stream},
                params, decode_query_type(params));
}

int load_mla_absorb_any() { return load(mla_absorb); }

}  // namespace dsv3::kernels
