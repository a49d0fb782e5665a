// One row's softmax over the pages of its sequence: the state that both forms of MLA fold pages
// into.
#pragma once

#include <cstdint>

#include "cpu/cpu_kernels.h"

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

}  // namespace dsv3
