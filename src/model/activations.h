// Every buffer a pass writes, in one block taken once at load (the house's RunState).
#pragma once

#include <cstdint>

#include "base/allocator.h"
#include "model/config.h"
#include "model/pass.h"
#include "ops/device.h"

namespace dsv3 {

// Capacities are rows_max / slots; rows(view, n) narrows one to the rows of the current pass.
struct Activations {
  Rows residual;       // [T, H] the residual stream, act
  Rows x;              // [T, H] normed input of the current part
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
  int32_t* tokens = nullptr;          // [T]
  uint32_t* positions = nullptr;      // [T]
  BatchSpan* spans = nullptr;         // [T]
  uint32_t* last_rows = nullptr;      // [slots] rows whose h goes to a slot ...
  uint32_t* last_slots = nullptr;     // [slots] ... and that slot
  uint32_t* sample_slots = nullptr;   // [slots]
  SampleRow* sample_rows = nullptr;   // [slots]
  SampleResult* results = nullptr;    // [slots]
  uint64_t* expert_tokens = nullptr;  // [layers, E] load counters since load
  uint32_t* nan_count = nullptr;      // [1] NaN router logits since load

  // Runs the same carving over memory or, with an empty carver, only measures it.
  static Activations carve(Carver& carver, const ModelConfig& config, const PassLimits& limits,
                           DType act);
};

// The first `count` rows of a buffer, optionally only its first `cols` columns.
inline Rows first_rows(const Rows& buffer, uint32_t count, uint32_t cols = 0) {
  Rows view = buffer;
  view.rows = count;
  if (cols != 0) view.cols = cols;
  return view;
}

}  // namespace dsv3
