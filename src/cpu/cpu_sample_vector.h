// The loops of sampling over vectors of V::kLanes floats, beside those of cpu_kernels_vector.h and
// under the same rules. Besides what is listed there, V has at_least(a, b): bit i is a[i] >= b[i].
#pragma once

#include "cpu/cpu_kernels_vector.h"

namespace dsv3 {
namespace {

// x, or NaN where it is not finite.
template <typename V>
DSV3_INLINE typename V::F finite_or_nan(typename V::F x) {
  return V::add(x, V::sub(x, x));
}

template <typename V>
DSV3_INLINE typename V::F finite_or_banned(typename V::F x) {
  return V::max(finite_or_nan<V>(x), V::set1(-__builtin_inff()));
}

template <typename V>
float max_finite_vector(const float* x, uint32_t count) {
  constexpr uint32_t kChains = 4;
  typename V::F best[kChains];
  DSV3_UNROLL
  for (uint32_t c = 0; c < kChains; ++c) best[c] = V::set1(-__builtin_inff());
  uint32_t i = 0;
  for (; i + kChains * V::kLanes <= count; i += kChains * V::kLanes) {
    DSV3_UNROLL
    for (uint32_t c = 0; c < kChains; ++c) {
      best[c] = V::max(finite_or_nan<V>(V::load(x + i + c * V::kLanes)), best[c]);
    }
  }
  float result = V::max_lane(V::max(V::max(best[0], best[1]), V::max(best[2], best[3])));
  for (; i < count; ++i) {
    if (x[i] - x[i] == 0.0f && x[i] > result) result = x[i];
  }
  return result;
}

template <typename V>
void keep_finite_vector(const float* x, uint32_t count, float* out) {
  uint32_t i = 0;
  for (; i + V::kLanes <= count; i += V::kLanes) {
    V::store(out + i, finite_or_banned<V>(V::load(x + i)));
  }
  if (i < count) V::store_n(out + i, finite_or_banned<V>(V::load_n(x + i, count - i)), count - i);
}

template <typename V>
float exp_finite_vector(const float* x, uint32_t count, float shift, float factor, float* out) {
  const typename V::F top = V::set1(shift);
  const typename V::F slope = V::set1(factor);
  typename V::F sum = V::zero();
  uint32_t i = 0;
  for (; i + V::kLanes <= count; i += V::kLanes) {
    const typename V::F kept = finite_or_banned<V>(V::load(x + i));
    const typename V::F value = V::exp(V::mul(V::sub(kept, top), slope));
    if (out != nullptr) V::store(out + i, value);
    sum = V::add(sum, value);
  }
  if (i < count) {
    float rest[V::kLanes];  // lanes that are missing add nothing
    DSV3_UNROLL
    for (uint32_t j = 0; j < V::kLanes; ++j) rest[j] = i + j < count ? x[i + j] : -__builtin_inff();
    const typename V::F kept = finite_or_banned<V>(V::load(rest));
    const typename V::F value = V::exp(V::mul(V::sub(kept, top), slope));
    if (out != nullptr) V::store_n(out + i, value, count - i);
    sum = V::add(sum, value);
  }
  return V::sum(sum);
}

template <typename V>
uint32_t find_at_least_vector(const float* x, uint32_t count, float at_least, uint32_t* indices) {
  const typename V::F limit = V::set1(at_least);
  uint32_t found = 0;
  uint32_t i = 0;
  for (; i + V::kLanes <= count; i += V::kLanes) {
    for (uint32_t bits = V::at_least(V::load(x + i), limit); bits != 0; bits &= bits - 1) {
      indices[found++] = i + static_cast<uint32_t>(__builtin_ctz(bits));
    }
  }
  for (; i < count; ++i) {
    if (x[i] >= at_least) indices[found++] = i;
  }
  return found;
}

template <typename V>
constexpr void fill_sampling(CpuKernels& table) {
  table.max_finite = max_finite_vector<V>;
  table.keep_finite = keep_finite_vector<V>;
  table.exp_finite = exp_finite_vector<V>;
  table.find_at_least = find_at_least_vector<V>;
}

}  // namespace
}  // namespace dsv3
