// Every buffer a pass writes, in one block of device memory taken once at load (the house's
// RunState).
#pragma once

#include <cstdint>

#include "base/allocator.h"
#include "model/config.h"
#include "model/pass.h"
#include "ops/device.h"

namespace dsv3 {

// Capacities are rows_max / slots; first_rows() narrows one to the rows of the current pass. Rows
// begin at multiples of 16 elements.
struct Activations {
  Rows residual;       // [T, H] the residual stream, act
  Rows x;              // [T, H] normed input of the current part
  QuantRows x_codes;   // [T, H] x quantised; absent for Ops that want no codes
  Rows h;              // [T, H] output of the current part, added to the residual by the next norm
  Rows q_low;          // [T, Rq] (1 column when Rq = 0)
  Rows q;              // [T, N*(dn+dr)]
  Rows z;              // [T, Rkv+dr]
  Rows attended;       // [T, N*dv]
  Rows gate;           // [T, max(I, S*M)]
  Rows up;             // [T, max(I, S*M)]
  Rows shared;         // [T, H] output of the shared expert
  Rows expert_hidden;  // [T*K, M]
  Rows expert_y;       // [T*K, H]
  int32_t* expert_ids = nullptr;    // [T, K]
  float* expert_weights = nullptr;  // [T, K]
  Rows slot_h;    // [slots, H] final-norm output of each sequence's last committed token
  Rows sample_h;  // [slots, H] gathered rows that are sampled
  Rows logits;    // [slots, V] F32
  SampleResult* results = nullptr;    // [slots]
  int32_t* history = nullptr;         // [slots, positions_max] tokens of each sequence
  float* inv_freq = nullptr;          // [dr/2], constant
  uint64_t* expert_tokens = nullptr;  // [layers, E] load counters since load
  uint32_t* nan_count = nullptr;      // [1] NaN router logits since load

  // Runs the same carving over memory or, with an empty carver, only measures it.
  static Activations carve(Carver& carver, const ModelConfig& config, const PassLimits& limits,
                           DType act, bool wants_codes);
};

// The first `count` rows of a buffer, optionally only its first `cols` columns.
inline Rows first_rows(const Rows& buffer, uint32_t count, uint32_t cols = 0) {
  Rows view = buffer;
  view.rows = count;
  if (cols != 0) view.cols = cols;
  return view;
}

// Row `index` of a buffer.
inline Rows one_row(const Rows& buffer, uint32_t index) {
  Rows view = first_rows(buffer, 1);
  view.data =
      static_cast<std::byte*>(buffer.data) + index * buffer.stride * (dtype_bits(buffer.dtype) / 8);
  return view;
}

}  // namespace dsv3
