// Two partial softmax results made one. A partial result is (maximum, total, sums): the largest
// score in units of ln 2, the sum of 2^(score - maximum), and that sum weighted by values.
#pragma once

#include "kernels/common/device_code.h"

namespace dsv3::kernels {

inline constexpr float kLog2E = 1.44269504088896340736f;

__device__ __forceinline__ float minus_infinity() { return __uint_as_float(0xff800000u); }

// 2^(score - top); 0 where nothing has been seen. A NaN goes through.
__device__ __forceinline__ float exp2_below(float score, float top) {
  return exp2f(top == minus_infinity() ? score : score - top);
}

// The state after `kept` and then `fresh`, and the factors of their sums.
struct Fold {
  float top;
  float total;
  float kept_factor;
  float fresh_factor;
};

__device__ __forceinline__ Fold fold(float kept_top, float kept_total, float fresh_top,
                                     float fresh_total) {
  Fold result;
  result.top = fresh_top > kept_top ? fresh_top : kept_top;
  result.kept_factor = exp2_below(kept_top, result.top);
  result.fresh_factor = exp2_below(fresh_top, result.top);
  result.total = fmaf(fresh_total, result.fresh_factor, kept_total * result.kept_factor);
  return result;
}

// The same operations wherever a sum is folded: the bits of a result may not tell who did it.
__device__ __forceinline__ float fold_sum(const Fold& fold, float kept, float fresh) {
  return fmaf(fresh, fold.fresh_factor, kept * fold.kept_factor);
}

}  // namespace dsv3::kernels
