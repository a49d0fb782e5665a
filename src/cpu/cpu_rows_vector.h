// The loops of norms, rotations, routing and the sum of the experts over vectors of V::kLanes
// floats, beside those of cpu_kernels_vector.h and under the same rules: each row of BF16 numbers
// is read and written once, in between everything stays in registers or in one F32 row. Besides
// what is listed there, V has twice(p) (kLanes / 2 floats, each in two lanes), swap_pairs
// (neighbouring lanes exchanged), negate_even (lanes 0, 2, ...) and at_least of
// cpu_sample_vector.h.
//
// Bytes: each row of activations read and written once; floor: their bytes over the read ceiling
// (of the router: 2 x rows x experts x cols over the F32 ceiling). Measured (dsv3-bench model mini
// --ops --case prompt=512, 2 threads, EPYC Zen 5, 2026-11-24, a shared machine; microseconds a call
// of 512 rows, before and after): add_norm 252, 103 (1.1 to 1.8 times the floor); rms_norm 70, 43
// to 55; mla_append 565, 122 to 140; route 611, 288; expert_combine 470, 296 to 332. The loops
// alone take 0.12 us for a norm of 1024 columns, 0.23 us to combine 6 rows and the shared one; the
// rest is lines that another core wrote, which arrive slowly. Hence the two things that helped
// most: each worker has a range of consecutive rows, the same in every operation, and asks for the
// row after the one it works on (prefetch_row; 245 us without, 125 with it where all lines are
// foreign). Of route 133 us are the products, at 94 % of the F32 ceiling; the rest of its gap is
// not explained. Tried and dropped: choosing experts by an insertion list in one pass (297 us, when
// the other operations ran a tenth faster).
#pragma once

#include "cpu/cpu_kernels_vector.h"

namespace dsv3 {
namespace {

template <typename V>
float add_bf16_vector(const uint16_t* h, uint16_t* residual, uint32_t count, float* sum) {
  typename V::F squares = V::zero();
  uint32_t i = 0;
  for (; i + V::kLanes <= count; i += V::kLanes) {
    typename V::F x = V::load_bf16(residual + i);
    if (h != nullptr) {
      x = V::add(x, V::load_bf16(h + i));
      V::store_bf16(residual + i, x);
    }
    V::store(sum + i, x);
    squares = V::fma(x, x, squares);
  }
  if (i < count) {
    const uint32_t n = count - i;
    typename V::F x = V::load_bf16_n(residual + i, n);
    if (h != nullptr) {
      x = V::add(x, V::load_bf16_n(h + i, n));
      V::store_bf16_n(residual + i, x, n);
    }
    V::store_n(sum + i, x, n);
    squares = V::fma(x, x, squares);
  }
  return V::sum(squares);
}

template <typename V>
float widen_squares_vector(const uint16_t* x, uint32_t count, float* out) {
  typename V::F squares = V::zero();
  uint32_t i = 0;
  for (; i + V::kLanes <= count; i += V::kLanes) {
    const typename V::F value = V::load_bf16(x + i);
    V::store(out + i, value);
    squares = V::fma(value, value, squares);
  }
  if (i < count) {
    const typename V::F value = V::load_bf16_n(x + i, count - i);
    V::store_n(out + i, value, count - i);
    squares = V::fma(value, value, squares);
  }
  return V::sum(squares);
}

template <typename V>
void mul_scaled_bf16_vector(const float* x, const float* weight, float factor, uint32_t count,
                            uint16_t* out) {
  const MulScaled<V> op{factor};
  uint32_t i = 0;
  for (; i + V::kLanes <= count; i += V::kLanes) {
    V::store_bf16(out + i, op(V::load(x + i), V::load(weight + i)));
  }
  if (i == count) return;
  const uint32_t n = count - i;
  V::store_bf16_n(out + i, op(V::load_n(x + i, n), V::load_n(weight + i, n)), n);
}

// Columns i .. i + N * kLanes of one row of CombineArgs.
template <typename V, uint32_t N>
DSV3_INLINE void combine_columns(const CombineArgs& args, uint32_t i) {
  typename V::F sum[N];
  DSV3_UNROLL
  for (uint32_t c = 0; c < N; ++c) sum[c] = V::zero();
  const uint16_t* row = args.rows + i;
  for (uint32_t j = 0; j < args.row_count; ++j, row += args.stride) {
    const typename V::F factor = V::set1(args.coef[j]);
    DSV3_UNROLL
    for (uint32_t c = 0; c < N; ++c) {
      sum[c] = V::fma(factor, V::load_bf16(row + c * V::kLanes), sum[c]);
    }
  }
  DSV3_UNROLL
  for (uint32_t c = 0; c < N; ++c) {
    const uint32_t at = i + c * V::kLanes;
    if (args.shared != nullptr) sum[c] = V::add(sum[c], V::load_bf16(args.shared + at));
    V::store_bf16(args.out + at, sum[c]);
  }
}

template <typename V>
void combine_bf16_vector(const CombineArgs& args) {
  uint32_t i = 0;
  for (; i + 4 * V::kLanes <= args.count; i += 4 * V::kLanes) combine_columns<V, 4>(args, i);
  for (; i + V::kLanes <= args.count; i += V::kLanes) combine_columns<V, 1>(args, i);
  if (i == args.count) return;
  const uint32_t n = args.count - i;
  typename V::F sum = V::zero();
  for (uint32_t j = 0; j < args.row_count; ++j) {
    const uint16_t* row = args.rows + j * args.stride + i;
    sum = V::fma(V::set1(args.coef[j]), V::load_bf16_n(row, n), sum);
  }
  if (args.shared != nullptr) sum = V::add(sum, V::load_bf16_n(args.shared + i, n));
  V::store_bf16_n(args.out + i, sum, n);
}

// kLanes elements of pairs, rotated: even * cos - odd * sin, odd * cos + even * sin.
template <typename V>
DSV3_INLINE typename V::F rotated(typename V::F x, typename V::F cosines, typename V::F sines) {
  return V::add(V::mul(x, cosines), V::mul(V::swap_pairs(x), V::negate_even(sines)));
}

// cos or sin of the last `pairs` < kLanes / 2 pairs.
template <typename V>
DSV3_INLINE typename V::F twice_n(const float* p, uint32_t pairs) {
  float buffer[V::kLanes / 2] = {};
  for (uint32_t i = 0; i < pairs; ++i) buffer[i] = p[i];
  return V::twice(buffer);
}

template <typename V>
void rotate_vector(float* x, uint32_t pairs, const float* cosines, const float* sines) {
  const uint32_t count = 2 * pairs;
  uint32_t i = 0;
  for (; i + V::kLanes <= count; i += V::kLanes) {
    V::store(x + i, rotated<V>(V::load(x + i), V::twice(cosines + i / 2), V::twice(sines + i / 2)));
  }
  if (i == count) return;
  const uint32_t n = count - i;
  const typename V::F cos = twice_n<V>(cosines + i / 2, n / 2);
  const typename V::F sin = twice_n<V>(sines + i / 2, n / 2);
  V::store_n(x + i, rotated<V>(V::load_n(x + i, n), cos, sin), n);
}

template <typename V>
void rotate_bf16_vector(const RotateArgs& args) {
  const uint32_t count = 2 * args.pairs;
  uint32_t i = 0;
  for (; i + V::kLanes <= count; i += V::kLanes) {
    const typename V::F cos = V::twice(args.cosines + i / 2);
    const typename V::F sin = V::twice(args.sines + i / 2);
    uint16_t* x = args.x + i;
    for (uint32_t r = 0; r < args.rows; ++r, x += args.stride) {
      V::store_bf16(x, rotated<V>(V::load_bf16(x), cos, sin));
    }
  }
  if (i == count) return;
  const uint32_t n = count - i;
  const typename V::F cos = twice_n<V>(args.cosines + i / 2, n / 2);
  const typename V::F sin = twice_n<V>(args.sines + i / 2, n / 2);
  uint16_t* x = args.x + i;
  for (uint32_t r = 0; r < args.rows; ++r, x += args.stride) {
    V::store_bf16_n(x, rotated<V>(V::load_bf16_n(x, n), cos, sin), n);
  }
}

template <typename V>
struct Routing {
  typename V::F score;
  typename V::F choice;
};

// max passes its second operand on where one is NaN.
template <typename V>
DSV3_INLINE Routing<V> routing_of(typename V::F logit, typename V::F bias) {
  const typename V::F below = V::add(V::set1(1.0f), V::exp(V::mul(logit, V::set1(-1.0f))));
  const typename V::F score = V::div(V::set1(1.0f), below);
  return {V::max(score, V::zero()), V::max(V::add(score, bias), V::set1(-__builtin_inff()))};
}

template <typename V>
uint32_t route_scores_vector(const float* logits, const float* bias, uint32_t count, float* scores,
                             float* choice) {
  uint32_t numbers = 0;
  uint32_t i = 0;
  for (; i + V::kLanes <= count; i += V::kLanes) {
    const typename V::F logit = V::load(logits + i);
    const Routing<V> row = routing_of<V>(logit, bias != nullptr ? V::load(bias + i) : V::zero());
    V::store(scores + i, row.score);
    V::store(choice + i, row.choice);
    numbers += static_cast<uint32_t>(__builtin_popcount(V::at_least(logit, logit)));
  }
  if (i < count) {
    const uint32_t n = count - i;
    const typename V::F logit = V::load_n(logits + i, n);  // the missing lanes are numbers
    const Routing<V> row =
        routing_of<V>(logit, bias != nullptr ? V::load_n(bias + i, n) : V::zero());
    V::store_n(scores + i, row.score, n);
    V::store_n(choice + i, row.choice, n);
    numbers += static_cast<uint32_t>(__builtin_popcount(V::at_least(logit, logit)));
    numbers -= V::kLanes - n;
  }
  return count - numbers;
}

// The first x[i] >= limit; 0 where there is none.
template <typename V>
DSV3_INLINE uint32_t first_at_least(const float* x, uint32_t count, float limit) {
  const typename V::F limits = V::set1(limit);
  uint32_t i = 0;
  for (; i + V::kLanes <= count; i += V::kLanes) {
    const uint32_t found = V::at_least(V::load(x + i), limits);
    if (found != 0) return i + static_cast<uint32_t>(__builtin_ctz(found));
  }
  for (; i < count; ++i) {
    if (x[i] >= limit) return i;
  }
  return 0;
}

// What was taken becomes NaN: max passes it over, and it is not at least anything.
template <typename V>
void largest_vector(float* x, uint32_t size, uint32_t count, int32_t* ids) {
  for (uint32_t k = 0; k < count; ++k) {
    typename V::F best = V::set1(-__builtin_inff());
    uint32_t i = 0;
    for (; i + V::kLanes <= size; i += V::kLanes) best = V::max(V::load(x + i), best);
    float limit = V::max_lane(best);
    for (; i < size; ++i) limit = x[i] > limit ? x[i] : limit;
    const uint32_t id = first_at_least<V>(x, size, limit);
    ids[k] = static_cast<int32_t>(id);
    x[id] = __builtin_nanf("");
  }
}

template <typename V>
constexpr void fill_rows(CpuKernels& table) {
  table.add_bf16 = add_bf16_vector<V>;
  table.widen_squares = widen_squares_vector<V>;
  table.mul_scaled_bf16 = mul_scaled_bf16_vector<V>;
  table.combine_bf16 = combine_bf16_vector<V>;
  table.rotate = rotate_vector<V>;
  table.rotate_bf16 = rotate_bf16_vector<V>;
  table.largest = largest_vector<V>;
  table.route_scores = route_scores_vector<V>;
}

}  // namespace
}  // namespace dsv3
