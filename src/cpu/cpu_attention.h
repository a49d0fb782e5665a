// One row's softmax over the pages of its sequence: the state that both forms of MLA fold pages
// into.
#pragma once

#include <cstdint>

#include "cpu/cpu_kernels.h"
#include "cpu/cpu_panel.h"

namespace dsv3 {

struct SoftmaxState {
  float* max = nullptr;    // largest score so far; -inf at first
  float* sum = nullptr;    // of exp(score - max)
  float* value = nullptr;  // [width], of exp(score - max) * value
  uint32_t width = 0;

  void clear() const;
};

// Rows of a page that are values: [keys, width].
struct ValueRows {
  const void* data = nullptr;
  RowFormat format = RowFormat::kF32;
  uint64_t stride = 0;
};

// Folds one page's `keys` unscaled scores into the state, keys ascending. Overwrites the scores.
void fold_page(const CpuKernels& kernels, float* scores, uint32_t keys, float scale,
               const ValueRows& values, const SoftmaxState& state);
// state.value = softmax-weighted mean of the values.
void finish(const CpuKernels& kernels, const SoftmaxState& state);

// The part of a query that no position turns, of one head.
struct QueryPart {
  const void* data = nullptr;
  DType dtype = DType::kBF16;
  uint32_t count = 0;  // dn
};
// out = W_UK^T nope in FP32, W_UK being `nope.count` rows of kv_b from `first`. [kv_b.cols]
void absorb_nope(const Panel& panel, const Weight& kv_b, uint32_t first, const QueryPart& nope,
                 float* out);

}  // namespace dsv3
