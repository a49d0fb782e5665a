// take_tokens  tokens[t] <-> history[slots[t], positions[t]]          one block: all reads, all
// writes embed        out[t, :] = act(table[tokens[t], :])                   [T, H] swiglu out =
// act(silu(gate) * up), FP32 inside                [T, I] copy_rows    out[out_rows[i], :] =
// x[x_rows[i], :]                  [count, cols] Who does what: the last three have a grid of
// (rows, pieces of a row); a thread owns eight neighbouring columns and a block up to 256 such
// groups. No thread needs another's result. Bytes: each element is read once and written once
// (swiglu: two reads). Operations: an exponential and a division per element of swiglu, none
// elsewhere. Expected bound: memory. Not yet run on hardware.
#include "kernels/common/device_code.h"
#include "kernels/common/eight.h"
#include "kernels/common/numeric.h"
#include "kernels/load_all.h"
#include "kernels/rows.h"

namespace dsv3::kernels {
namespace {

constexpr uint32_t kThreads = 256;
constexpr uint32_t kTakeThreads = 512;

__global__ void __launch_bounds__(kTakeThreads) take_tokens_kernel(TakeTokensParams params) {
  const auto entry = [&](uint32_t row) -> int32_t& {
    return params.history[params.slots[row] * params.stride + params.positions[row]];
  };
  for (uint32_t row = threadIdx.x; row < params.rows; row += blockDim.x) {
    if (params.tokens[row] < 0 && params.positions[row] < params.stride) {
      params.tokens[row] = entry(row);
    }
  }
  __syncthreads();
  for (uint32_t row = threadIdx.x; row < params.rows; row += blockDim.x) {
    if (params.positions[row] < params.stride) entry(row) = params.tokens[row];
  }
}

// The first of this thread's eight columns.
__device__ __forceinline__ uint32_t column_of_thread() {
  return (blockIdx.y * blockDim.x + threadIdx.x) * 8;
}

__global__ void __launch_bounds__(kThreads) embed_kernel(EmbedParams params) {
  const uint32_t row = blockIdx.x;
  const uint32_t col = column_of_thread();
  if (col >= params.out.cols) return;
  const uint32_t count = params.out.cols - col;
  const auto token = static_cast<uint32_t>(params.tokens[row]);
  Eight values = {};
  if (token < params.table.rows) values = load_eight(params.table, token, col, count);
  store_eight(params.out.data, params.out.type, row * params.out.stride + col, count, values);
}

__global__ void __launch_bounds__(kThreads) swiglu_kernel(SwigluParams params) {
  const uint32_t row = blockIdx.x;
  const uint32_t col = column_of_thread();
  if (col >= params.out.cols) return;
  const uint32_t count = params.out.cols - col;
  const Eight gate =
      load_eight(params.gate.data, params.gate.type, row * params.gate.stride + col, count);
  Eight out = load_eight(params.up.data, params.up.type, row * params.up.stride + col, count);
  for (uint32_t i = 0; i < 8; ++i) {
    out.at[i] = gate.at[i] / (1.0f + expf(-gate.at[i])) * out.at[i];
  }
  store_eight(params.out.data, params.out.type, row * params.out.stride + col, count, out);
}

// Element is the type of the bits that are moved.
template <typename Element>
__device__ __forceinline__ void copy_eight(const void* from, void* to, uint32_t count) {
  const auto* source = static_cast<const Element*>(from);
  auto* target = static_cast<Element*>(to);
  constexpr uint32_t kWords = sizeof(Element) / 2;  // of 16 bytes in eight elements
  if (count >= 8 && is_aligned16(from) && is_aligned16(to)) {
    for (uint32_t i = 0; i < kWords; ++i) {
      static_cast<SixteenBytes*>(to)[i] = static_cast<const SixteenBytes*>(from)[i];
    }
  } else {
    for (uint32_t i = 0; i < 8 && i < count; ++i) target[i] = source[i];
  }
}

__global__ void __launch_bounds__(kThreads) copy_rows_kernel(CopyRowsParams params) {
  const uint32_t index = blockIdx.x;
  const uint32_t col = column_of_thread();
  const uint32_t from = params.x_rows != nullptr ? params.x_rows[index] : index;
  const uint32_t to = params.out_rows != nullptr ? params.out_rows[index] : index;
  if (col >= params.x.cols || from >= params.x.rows || to >= params.out.rows) return;
  const uint32_t count = params.x.cols - col;
  const uint64_t source = from * params.x.stride + col;
  const uint64_t target = to * params.out.stride + col;
  if (params.x.type == Type::kF32) {
    copy_eight<uint32_t>(static_cast<const uint32_t*>(params.x.data) + source,
                         static_cast<uint32_t*>(params.out.data) + target, count);
  } else {
    copy_eight<uint16_t>(static_cast<const uint16_t*>(params.x.data) + source,
                         static_cast<uint16_t*>(params.out.data) + target, count);
  }
}

// Blocks for `rows` rows of `cols` columns, at least one, eight columns a thread.
Launch launch_by_eights(uint32_t rows, uint32_t cols, gpu::Stream* stream) {
  const uint32_t groups = cols / 8 + (cols % 8 != 0 || cols == 0 ? 1 : 0);
  const uint32_t threads = groups < kThreads ? (groups + 31) / 32 * 32 : kThreads;
  return {.blocks = {rows, (groups + threads - 1) / threads, 1},
          .threads = threads,
          .shared_bytes = 0,
          .stream = stream};
}

}  // namespace

int launch_take_tokens_any(const TakeTokensParams& params, gpu::Stream* stream) {
  const Launch where{.blocks = {}, .threads = kTakeThreads, .shared_bytes = 0, .stream = stream};
  return launch(take_tokens_kernel, where, params);
}

int launch_embed_any(const EmbedParams& params, gpu::Stream* stream) {
  return launch(embed_kernel, launch_by_eights(params.out.rows, params.out.cols, stream), params);
}

int launch_swiglu_any(const SwigluParams& params, gpu::Stream* stream) {
  return launch(swiglu_kernel, launch_by_eights(params.out.rows, params.out.cols, stream), params);
}

int launch_copy_rows_any(const CopyRowsParams& params, gpu::Stream* stream) {
  return launch(copy_rows_kernel, launch_by_eights(params.count, params.x.cols, stream), params);
}

int load_rows_any() {
  return load(take_tokens_kernel, embed_kernel, swiglu_kernel, copy_rows_kernel);
}

}  // namespace dsv3::kernels
