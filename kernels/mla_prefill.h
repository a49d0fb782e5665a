// Attention of prompt tokens, in the unabsorbed form (MlaAttendArgs): the cached latents of a chunk
// of keys are gathered, expanded through kv_b by a linear, and attended by all rows of one span.
// Rows carry their softmax state from chunk to chunk, so a chunk's size changes no bit.
#pragma once

#include "kernels/common/kernel_types.h"
#include "kernels/common/launch.h"

namespace dsv3::kernels {

struct MlaGatherParams {
  MlaDims dims;
  Pages pages;
  const int32_t* page_numbers = nullptr;  // of the sequence, device memory
  uint32_t key_begin = 0;                 // position of the first row of `out`
  Matrix out;                             // [keys, Rkv+dr]
};

struct MlaPrefillParams {
  MlaDims dims;
  ConstMatrix q;                // [R, N*(dn+dr)] rows of one span
  uint32_t position_begin = 0;  // of row 0
  uint32_t key_begin = 0;       // of this chunk, a multiple of 64
  ConstMatrix latents;          // [keys, Rkv+dr]: their rope parts are used
  ConstMatrix expanded;         // [keys, N*(dn+dv)], per head keys, then values
  float scale = 1.0f;
  float* states = nullptr;    // [R, N, state_stride]: sums [dv], maximum (base 2), total
  uint32_t state_stride = 0;  // dv + 2 rounded up to 4
  Matrix out;                 // [R, N*dv]
};

// out[j] = the cached row at key_begin + j in out's type, dequantised. A row whose latent holds
// infinities or NaN becomes zeros with a rope part of NaN: every row that sees the key becomes NaN
// by its score, and no row that does not see it gets 0 * NaN by its value.
int launch_mla_gather_any(const MlaGatherParams& params, gpu::Stream* stream);

// Folds the chunk into the states of the rows that see it; writes the rows whose last key is in it.
int launch_mla_prefill_any(const MlaPrefillParams& params, gpu::Stream* stream);
// The version for every shape and type that tensor cores do not take.
int launch_mla_prefill_plain_any(const MlaPrefillParams& params, gpu::Stream* stream);

}  // namespace dsv3::kernels
