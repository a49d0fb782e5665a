// The primitive loops over vectors of V::kLanes floats, written once for AVX2 and AVX-512. Included
// inside the target region of cpu_kernels_avx2.cpp and cpu_kernels_avx512.cpp, each with its own V
// in an unnamed namespace: nothing of this header may be shared between the two, and nothing of the
// standard library may be called, or code for the newer processor could be linked into the older
// path.
//
// V: F (register), zero, set1, load, load_n, store, store_n, add, sub, mul, div, min and max (the
// second operand where one is NaN), abs, binade (|x| without its mantissa), fma (a*b+c), sum,
// store_sums<n> (the sums of n registers as F32 or BF16), max_lane, exp, store_bf16, load_bf16,
// store_bf16_n, load_bf16_n. A dot product D: T, X (elements of weight and x), W, XF (registers),
// kStep, w, w_n, x, x_n, mad. The *_n forms read or write the first n < kStep elements only;
// missing lanes are zero.
//
// Panels. Bytes: the weight once; floor: its bytes over the read ceiling for few rows of x, 2 x
// rows x outs x cols over the dot-product ceiling for many. Measured (EPYC Zen 5, 2026-11-24, loops
// over these kernels, all operands at cache lines; a shared machine, single runs): 512 rows on 2
// threads 75 to 84 % of the bf16 ceiling for 512 to 2048 columns; one panel of 126 rows on one core
// 82, 89 and 92 % at 512, 1024 and 2048; AVX2 in F32 135 GFLOP/s a core. Rows of x that straddle
// cache lines reach about half of that. Weight rows of 2816 and more columns do not stay in the
// nearest cache and reach 43 to 55 %: a loop over blocks of columns is missing. Tried and dropped:
// tiles of 4 x 4 (66, 75, 76 %) and 6 x 4 (73, 82, 80 %) instead of 3 x 8; sums that pass through
// memory into the horizontal sum (71, 82, 88 %).
#pragma once

#include <cstdint>

#include "cpu/cpu_dot_vector.h"
#include "cpu/cpu_kernels.h"
#include "cpu/cpu_streams_vector.h"
#include "cpu/cpu_unroll.h"

namespace dsv3 {
namespace {

inline constexpr uint32_t kGroupOuts = 8;      // weight rows that meet all rows of x together
inline constexpr uint32_t kAheadBytes = 8192;  // a group smaller than this prefetches two groups on
inline constexpr uint32_t kAheadRows = 24;     // rows of x during which a group is prefetched

// What to read from memory while a tile is computed: the weight rows that are multiplied next. A
// hint; the addresses may lie outside of the weight.
struct Ahead {
  const char* at = nullptr;
  uint32_t lines = 0;  // per step of D; 0: none

  template <typename D, uint32_t O>
  DSV3_INLINE void step(const typename D::T* const*, uint64_t) {
    for (uint32_t i = 0; i < lines; ++i) {
      __builtin_prefetch(at, 0, 3);
      at += kLineBytes;
    }
  }
};

// Outputs (r + i, o + j): one sum for each lane, added by the same tree whatever the tile's shape.
template <typename V, uint32_t R, uint32_t O>
DSV3_INLINE void store_tile(const Tile<V, R, O>& tile, const PanelArgs& args, uint32_t r,
                            uint32_t o) {
  DSV3_UNROLL
  for (uint32_t i = 0; i < R; ++i) {
    if (args.y_rows != nullptr) {
      V::template store_sums<O>(tile.sum[i], args.y_rows[r + i] + o);
    } else {
      V::template store_sums<O>(tile.sum[i], args.y + (r + i) * args.y_stride + o);
    }
  }
}

// One tile of outputs: rows r .. r + R of x, rows o .. o + O of the weight.
template <typename V, typename D, Scales kScales, uint32_t R, uint32_t O>
inline void dot_tile(const PanelArgs& args, uint32_t r, uint32_t o, Ahead& on) {
  const WeightRows& weight = args.weight;
  const typename D::T* w[O];
  const typename D::X* x[R];
  w[0] = static_cast<const typename D::T*>(weight.data) + o * weight.stride;
  DSV3_UNROLL
  for (uint32_t j = 1; j < O; ++j) w[j] = w[j - 1] + weight.stride;
  DSV3_UNROLL
  for (uint32_t i = 0; i < R; ++i) x[i] = static_cast<const typename D::X*>(args.x[r + i]);
  Ahead ahead = on;     // a copy stays in registers
  Tile<V, R, O> total;  // NOLINT(cppcoreguidelines-pro-type-member-init): cleared next
  total.clear();
  if constexpr (kScales == Scales::kNone) {
    dot_range<V, D, R, O>(w, x, 0, weight.cols, ahead, total);
  } else {
    dot_blocks<V, D, kScales, R, O>(args, {r, o}, w, x, ahead, total);
  }
  store_tile<V, R, O>(total, args, r, o);
  on.at = ahead.at;
}

// kGroupOuts outputs of all rows of x: the group's weight rows stay in the nearest cache.
template <typename V, typename D, Scales kScales>
inline void dot_group(const PanelArgs& args, uint32_t o, Ahead ahead) {
  constexpr uint32_t kOuts = V::kTileOuts;
  constexpr uint32_t kRows = V::kTileRows;
  DSV3_UNROLL
  for (uint32_t j = 0; j < kGroupOuts; j += kOuts) {
    uint32_t r = 0;
    for (; r + kRows <= args.x_rows; r += kRows) {
      dot_tile<V, D, kScales, kRows, kOuts>(args, r, o + j, ahead);
      if (r >= kAheadRows) ahead.lines = 0;
    }
    if constexpr (kRows == 3) {
      if (r + 2 == args.x_rows) {
        dot_tile<V, D, kScales, 2, kOuts>(args, r, o + j, ahead);
        r += 2;
      }
    }
    for (; r < args.x_rows; ++r) dot_tile<V, D, kScales, 1, kOuts>(args, r, o + j, ahead);
  }
}

// What to prefetch during group `o`: the group after the next kAheadBytes, of these rows or of what
// comes after them, spread evenly over the tiles of this group.
template <typename V, typename D>
inline Ahead ahead_of(const PanelArgs& args, uint32_t o) {
  const WeightRows& weight = args.weight;
  const uint64_t row_bytes = weight.stride * sizeof(typename D::T);
  const uint64_t group_bytes = kGroupOuts * row_bytes;
  const uint32_t skipped = group_bytes < kAheadBytes ? 2 : 1;
  const uint32_t next = o + skipped * kGroupOuts;
  Ahead ahead;
  if (next < weight.rows && !args.is_near) {
    ahead.at = static_cast<const char*>(weight.data) + next * row_bytes;
  } else if (args.next != nullptr) {
    const uint32_t past = args.is_near || next < weight.rows ? 0 : next - weight.rows;
    ahead.at = static_cast<const char*>(args.next) + past * row_bytes;
  } else {
    return ahead;
  }
  const uint32_t tile_rows = args.x_rows < kAheadRows ? args.x_rows : kAheadRows;
  const uint32_t tiles =
      kGroupOuts / V::kTileOuts * ((tile_rows + V::kTileRows - 1) / V::kTileRows);
  const uint32_t step_bytes = kGroupOuts * D::kStep * sizeof(typename D::T);
  ahead.lines = (step_bytes / kLineBytes + tiles - 1) / tiles;
  return ahead;
}

// Groups of weight rows outside, rows of x inside: a weight row comes from memory once.
template <typename V, typename D, Scales kScales>
void panel_vector(const PanelArgs& args) {
  uint32_t o = 0;
  if (!args.is_near && args.x_rows <= kFewRows<V, kScales>) {
    o = dot_few_rows<V, D, kScales>(args);
  }
  for (; o + kGroupOuts <= args.weight.rows; o += kGroupOuts) {
    dot_group<V, D, kScales>(args, o, ahead_of<V, D>(args, o));
  }
  Ahead none;
  for (; o < args.weight.rows; ++o) {
    for (uint32_t r = 0; r < args.x_rows; ++r) dot_tile<V, D, kScales, 1, 1>(args, r, o, none);
  }
}

// The dot product in F32: L reads kLanes elements of the weight as F32, exactly.
template <typename V, typename L>
struct DotF32 {
  using T = typename L::T;
  using X = float;
  using W = typename V::F;
  using XF = typename V::F;
  static constexpr uint32_t kStep = V::kLanes;
  static W w(const T* p) { return L::load(p); }
  static W w_n(const T* p, uint32_t n) { return L::load_n(p, n); }
  static XF x(const float* p) { return V::load(p); }
  static XF x_n(const float* p, uint32_t n) { return V::load_n(p, n); }
  static typename V::F mad(typename V::F acc, W weight, XF row) { return V::fma(weight, row, acc); }
};

template <typename V, typename L>
void to_f32_vector(const void* src, uint32_t count, float* dst) {
  const auto* from = static_cast<const typename L::T*>(src);
  uint32_t i = 0;
  for (; i + V::kLanes <= count; i += V::kLanes) V::store(dst + i, L::load(from + i));
  if (i < count) V::store_n(dst + i, L::load_n(from + i, count - i), count - i);
}

template <typename V, typename L, uint32_t N>
inline void weighted_columns(const float* coef, uint32_t row_count, const typename L::T* rows,
                             uint64_t stride, float* acc) {
  typename V::F sum[N];
  DSV3_UNROLL
  for (uint32_t i = 0; i < N; ++i) sum[i] = V::load(acc + i * V::kLanes);
  for (uint32_t j = 0; j < row_count; ++j, rows += stride) {
    const typename V::F factor = V::set1(coef[j]);
    DSV3_UNROLL
    for (uint32_t i = 0; i < N; ++i) {
      sum[i] = V::fma(factor, L::load(rows + i * V::kLanes), sum[i]);
    }
  }
  DSV3_UNROLL
  for (uint32_t i = 0; i < N; ++i) V::store(acc + i * V::kLanes, sum[i]);
}

template <typename V, typename L>
void weighted_sum_vector(const float* coef, uint32_t row_count, const void* rows, uint64_t stride,
                         uint32_t count, float* acc) {
  const auto* from = static_cast<const typename L::T*>(rows);
  uint32_t i = 0;
  for (; i + 8 * V::kLanes <= count; i += 8 * V::kLanes) {
    weighted_columns<V, L, 8>(coef, row_count, from + i, stride, acc + i);
  }
  for (; i + V::kLanes <= count; i += V::kLanes) {
    weighted_columns<V, L, 1>(coef, row_count, from + i, stride, acc + i);
  }
  if (i == count) return;
  typename V::F sum = V::load_n(acc + i, count - i);
  for (uint32_t j = 0; j < row_count; ++j) {
    sum = V::fma(V::set1(coef[j]), L::load_n(from + j * stride + i, count - i), sum);
  }
  V::store_n(acc + i, sum, count - i);
}

// out[i] = op(a[i], b[i]) over full vectors and one tail. Op is a struct and not a lambda: g++ does
// not give a lambda inside a template the target of its region.
template <typename V, typename Op>
inline void map2(const float* a, const float* b, uint32_t count, float* out, const Op& op) {
  uint32_t i = 0;
  for (; i + V::kLanes <= count; i += V::kLanes) {
    V::store(out + i, op(V::load(a + i), V::load(b + i)));
  }
  if (i < count) {
    const uint32_t n = count - i;
    V::store_n(out + i, op(V::load_n(a + i, n), V::load_n(b + i, n)), n);
  }
}

template <typename V>
float max_vector(const float* x, uint32_t count) {
  typename V::F best = V::set1(x[0]);
  uint32_t i = 0;
  for (; i + V::kLanes <= count; i += V::kLanes) best = V::max(best, V::load(x + i));
  float result = V::max_lane(best);
  for (; i < count; ++i) result = x[i] > result ? x[i] : result;
  return result;
}

template <typename V>
float max_abs_vector(const float* x, uint32_t count) {
  typename V::F best = V::zero();
  uint32_t i = 0;
  for (; i + V::kLanes <= count; i += V::kLanes) best = V::max(V::abs(V::load(x + i)), best);
  if (i < count) best = V::max(V::abs(V::load_n(x + i, count - i)), best);
  return V::max_lane(best);
}

template <typename V>
float sum_squares_vector(const float* x, uint32_t count) {
  typename V::F sum = V::zero();
  uint32_t i = 0;
  for (; i + V::kLanes <= count; i += V::kLanes) {
    const typename V::F value = V::load(x + i);
    sum = V::fma(value, value, sum);
  }
  if (i < count) {
    const typename V::F value = V::load_n(x + i, count - i);
    sum = V::fma(value, value, sum);
  }
  return V::sum(sum);
}

template <typename V>
float exp_sum_vector(float* x, uint32_t count, float shift) {
  const typename V::F minus = V::set1(-shift);
  typename V::F sum = V::zero();
  uint32_t i = 0;
  for (; i + V::kLanes <= count; i += V::kLanes) {
    const typename V::F value = V::exp(V::add(V::load(x + i), minus));
    V::store(x + i, value);
    sum = V::add(sum, value);
  }
  if (i < count) {
    V::store_n(x + i, V::exp(V::add(V::load_n(x + i, count - i), minus)), count - i);
    sum = V::add(sum, V::load_n(x + i, count - i));
  }
  return V::sum(sum);
}

template <typename V>
struct Scale {
  float factor;
  typename V::F operator()(typename V::F a, typename V::F) const {
    return V::mul(a, V::set1(factor));
  }
};

template <typename V>
struct Add {
  typename V::F operator()(typename V::F a, typename V::F b) const { return V::add(a, b); }
};

template <typename V>
struct MulScaled {
  float factor;
  typename V::F operator()(typename V::F a, typename V::F w) const {
    return V::mul(w, V::mul(a, V::set1(factor)));
  }
};

template <typename V>
struct SiluMul {
  typename V::F operator()(typename V::F gate, typename V::F up) const {
    const typename V::F below = V::add(V::set1(1.0f), V::exp(V::mul(gate, V::set1(-1.0f))));
    return V::mul(V::div(gate, below), up);
  }
};

// Adding and subtracting 1.5 * 2^20 binades leaves the four bits of an e4m3, rounded to nearest
// even; below 2^-6, where the steps no longer shrink, the binade is that of 2^-6.
template <typename V>
struct ToE4m3 {
  float scale;
  typename V::F operator()(typename V::F x, typename V::F) const {
    typename V::F q = V::min(V::set1(448.0f), V::div(x, V::set1(scale)));
    q = V::max(V::set1(-448.0f), q);
    const typename V::F binade = V::max(V::set1(0x1p-6f), V::binade(q));
    const typename V::F magic = V::mul(binade, V::set1(0x1.8p20f));
    return V::sub(V::add(q, magic), magic);
  }
};

// silu_mul on BF16 rows.
template <typename V>
void silu_mul_bf16_vector(const uint16_t* gate, const uint16_t* up, uint32_t count, uint16_t* out) {
  const SiluMul<V> op;
  uint32_t i = 0;
  for (; i + V::kLanes <= count; i += V::kLanes) {
    V::store_bf16(out + i, op(V::load_bf16(gate + i), V::load_bf16(up + i)));
  }
  if (i == count) return;
  const uint32_t n = count - i;
  V::store_bf16_n(out + i, op(V::load_bf16_n(gate + i, n), V::load_bf16_n(up + i, n)), n);
}

template <typename V>
void to_e4m3_vector(const float* x, uint32_t count, float scale, float* out) {
  map2<V>(x, x, count, out, ToE4m3<V>{scale});
}

template <typename V>
void scale_vector(float* x, uint32_t count, float factor) {
  map2<V>(x, x, count, x, Scale<V>{factor});
}

template <typename V>
void add_vector(const float* x, uint32_t count, float* acc) {
  map2<V>(acc, x, count, acc, Add<V>{});
}

template <typename V>
void mul_scaled_vector(const float* x, const float* weight, float factor, uint32_t count,
                       float* out) {
  map2<V>(x, weight, count, out, MulScaled<V>{factor});
}

template <typename V>
void silu_mul_vector(const float* gate, const float* up, uint32_t count, float* out) {
  map2<V>(gate, up, count, out, SiluMul<V>{});
}

// exp(x) = 2^n * exp(r), n = round(x / ln 2), |r| <= ln 2 / 2; ln 2 in two parts so that n * ln 2
// is subtracted exactly. The polynomial is the Taylor series to r^7: its rest is below 2^-27
// relative.
struct ExpSteps {
  static constexpr float kLog2E = 1.44269504088896341f;
  static constexpr float kLn2High = 0.693359375f;
  static constexpr float kLn2Low = -2.12194440054690583e-4f;
};

template <typename V>
inline typename V::F exp_polynomial(typename V::F r) {
  typename V::F p = V::set1(1.0f / 5040.0f);
  p = V::fma(p, r, V::set1(1.0f / 720.0f));
  p = V::fma(p, r, V::set1(1.0f / 120.0f));
  p = V::fma(p, r, V::set1(1.0f / 24.0f));
  p = V::fma(p, r, V::set1(1.0f / 6.0f));
  p = V::fma(p, r, V::set1(0.5f));
  p = V::fma(p, r, V::set1(1.0f));
  return V::fma(p, r, V::set1(1.0f));
}

// The loops that depend on V alone; the readers of a level fill in the rest of the table.
template <typename V>
constexpr void fill_common(CpuKernels& table) {
  table.to_e4m3 = to_e4m3_vector<V>;
  table.max = max_vector<V>;
  table.max_abs = max_abs_vector<V>;
  table.sum_squares = sum_squares_vector<V>;
  table.exp_sum = exp_sum_vector<V>;
  table.scale = scale_vector<V>;
  table.add = add_vector<V>;
  table.mul_scaled = mul_scaled_vector<V>;
  table.silu_mul = silu_mul_vector<V>;
  table.silu_mul_bf16 = silu_mul_bf16_vector<V>;
}

}  // namespace
}  // namespace dsv3
