// Which inner loops does attention over BF16 operands need? A table beside CpuKernels, for levels
// that multiply BF16 pairs.
//
// A lane is one query: a head of a row (absorbed form) or a row of a head (unabsorbed form).
// Sixteen lanes share a walk over the keys. Each lane of a result is computed by one sequence of
// operations over its own query and the keys ascending, whatever the other lanes hold; keys that a
// lane does not see add zeros. Products are of BF16 numbers, sums are FP32.
#pragma once

#include <cstdint>

#include "cpu/cpu_ops.h"

namespace dsv3 {

inline constexpr uint32_t kLanes = 16;

// Rows of BF16 numbers: keys, values, latents, or rows of a weight.
struct AttendRows {
  const uint16_t* data = nullptr;
  uint64_t stride = 0;  // elements
  uint32_t count = 0;
  uint32_t width = 0;
};

// Lanes as the kernels read them: pair p of columns (2p, 2p + 1) of lane l is word [p][l]; an odd
// last column is paired with zero.
inline uint64_t packed_words(uint64_t width) { return (width + 1) / 2 * kLanes; }

// scores[k][l] = row k . lane l, for one or two blocks of lanes.
struct AttendScores {
  AttendRows rows;
  const uint32_t* lanes[2] = {};  // packed; the second may be null
  float* scores[2] = {};          // [rows.count, 16]
};

// out[k][o] = bf16(row k . lane o): the lanes are rows of a weight.
struct AttendExpand {
  AttendRows rows;
  const uint32_t* lanes = nullptr;  // packed blocks of 16 lanes, one after another
  uint32_t outs = 0;
  uint16_t* out = nullptr;  // [rows.count, outs]
  uint64_t out_stride = 0;
};

// One block of lanes of softmax over keys that come a page at a time.
struct AttendState {
  float* max = nullptr;     // [16] largest scaled score so far; -inf at first
  float* sum = nullptr;     // [16] of the rounded exponentials
  float* factor = nullptr;  // [16] by which the last page scaled what came before
};

// Folds a page's scores: p = bf16(exp(scale * score - max)), zero for keys a lane does not see.
struct AttendSoftmax {
  const float* scores = nullptr;      // [keys, 16]
  uint32_t keys = 0;                  // 1 .. 64
  float scale = 1.0f;                 // > 0
  const uint32_t* visible = nullptr;  // [16] keys that each lane sees; null: all
  AttendState state;
  uint32_t* p = nullptr;  // [ceil(keys/2)][16] pairs of keys; an odd last key is paired with zero
};

// acc[l] = start(acc[l]) + sum over k of p[l][k] * row k; start: 0, acc * factor[l], or acc.
struct AttendValues {
  AttendRows rows;
  const void* p = nullptr;  // pair of keys (2i, 2i + 1) of lane l at byte i * pair + l * lane
  uint64_t pair_bytes = 0;  // p needs no alignment; behind an odd last key anything may stand
  uint64_t lane_bytes = 0;
  uint32_t lanes = 0;             // 1 .. 16
  const float* factor = nullptr;  // null: 1
  bool is_fresh = false;          // start with 0
  float* acc = nullptr;           // [lanes, rows.width]
  uint64_t acc_stride = 0;
  int64_t prefetch_bytes = 0;  // fetches what stands so far behind each row; 0: nothing
};

struct AttendKernels {
  // rows[l], null for a lane of zeros, to the form above.
  void (*pack)(const uint16_t* const* rows, uint32_t width, uint32_t* out) = nullptr;
  void (*scores)(const AttendScores& args) = nullptr;
  void (*expand)(const AttendExpand& args) = nullptr;
  void (*softmax)(const AttendSoftmax& args) = nullptr;
  void (*values)(const AttendValues& args) = nullptr;
  // No number is infinite or NaN.
  bool (*is_finite)(const uint16_t* x, uint64_t count) = nullptr;
};

// Null where this build has none (another processor family). The other levels attend in FP32.
const AttendKernels* attend_kernels_avx512();

}  // namespace dsv3
