// The operations on single rows that move or gate: take_tokens, embed, swiglu, copy_rows.
#pragma once

#include "kernels/common/kernel_types.h"
#include "kernels/common/launch.h"

namespace dsv3::kernels {

// For each row t: tokens[t] >= 0 goes to history[slots[t], positions[t]], a negative one is
// replaced by what stood there before the call. Rows whose position is not below `stride` are left
// alone.
struct TakeTokensParams {
  uint32_t rows = 0;                    // T
  int32_t* tokens = nullptr;            // [T]
  const uint32_t* slots = nullptr;      // [T]
  const uint32_t* positions = nullptr;  // [T]
  int32_t* history = nullptr;           // [slots, stride]
  uint64_t stride = 0;
};
int launch_take_tokens_any(const TakeTokensParams& params, gpu::Stream* stream);

// out[t, :] = act(table[tokens[t], :]); zeros for a token outside the table.
struct EmbedParams {
  const int32_t* tokens = nullptr;  // [T]
  Weights table;                    // [V, H]
  Matrix out;                       // [T, H]
};
int launch_embed_any(const EmbedParams& params, gpu::Stream* stream);

// out = act(silu(gate) * up); out may alias gate or up.
struct SwigluParams {
  ConstMatrix gate;  // [T, I]
  ConstMatrix up;    // [T, I]
  Matrix out;        // [T, I]
};
int launch_swiglu_any(const SwigluParams& params, gpu::Stream* stream);

// out[out_rows ? out_rows[i] : i, :] = x[x_rows ? x_rows[i] : i, :] for i < count, same type. Rows
// outside x or out are skipped.
struct CopyRowsParams {
  ConstMatrix x;
  const uint32_t* x_rows = nullptr;  // [count]
  Matrix out;
  const uint32_t* out_rows = nullptr;  // [count]
  uint32_t count = 0;
};
int launch_copy_rows_any(const CopyRowsParams& params, gpu::Stream* stream);

}  // namespace dsv3::kernels
