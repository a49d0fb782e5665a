// How is a tile of dot products summed? R rows of x by O weight rows, one register of sums for each
// product. Included where cpu_kernels_vector.h is, under its rules.
#pragma once

#include <cstdint>

#include "cpu/cpu_kernels.h"
#include "cpu/cpu_unroll.h"

namespace dsv3 {
namespace {

// What the sum of each 128 columns is multiplied by.
enum class Scales : uint8_t { kNone, kOfWeight, kOfBoth };

// One register of partial sums per output element; K ascends. R rows of x by O rows of weight.
template <typename V, uint32_t R, uint32_t O>
struct Tile {
  typename V::F sum[R][O];

  DSV3_INLINE void clear() {
    DSV3_UNROLL
    for (uint32_t i = 0; i < R; ++i) {
      DSV3_UNROLL
      for (uint32_t j = 0; j < O; ++j) sum[i][j] = V::zero();
    }
  }
};

template <typename V, typename D, uint32_t R, uint32_t O, typename A>
DSV3_INLINE void dot_range(const typename D::T* const* w, const typename D::X* const (&x)[R],
                           uint64_t begin, uint64_t end, A& ahead, Tile<V, R, O>& tile) {
  uint64_t k = begin;
  for (; k + D::kStep <= end; k += D::kStep) {
    typename D::XF rows[R];
    DSV3_UNROLL
    for (uint32_t i = 0; i < R; ++i) rows[i] = D::x(x[i] + k);
    DSV3_UNROLL
    for (uint32_t j = 0; j < O; ++j) {
      const typename D::W weight = D::w(w[j] + k);
      DSV3_UNROLL
      for (uint32_t i = 0; i < R; ++i) tile.sum[i][j] = D::mad(tile.sum[i][j], weight, rows[i]);
    }
    ahead.template step<D, O>(w, k);
  }
  if (k == end) return;
  DSV3_UNROLL
  for (uint32_t i = 0; i < R; ++i) {
    const typename D::XF row = D::x_n(x[i] + k, static_cast<uint32_t>(end - k));
    DSV3_UNROLL
    for (uint32_t j = 0; j < O; ++j) {
      tile.sum[i][j] =
          D::mad(tile.sum[i][j], D::w_n(w[j] + k, static_cast<uint32_t>(end - k)), row);
    }
  }
}

// total += part * (x[i] * w[j]), or part * w[j].
template <typename V, Scales kScales, uint32_t R, uint32_t O>
DSV3_INLINE void add_scaled(const Tile<V, R, O>& part, const float (&w)[O], const float (&x)[R],
                            Tile<V, R, O>& total) {
  DSV3_UNROLL
  for (uint32_t j = 0; j < O; ++j) {
    const typename V::F factor = V::set1(w[j]);
    DSV3_UNROLL
    for (uint32_t i = 0; i < R; ++i) {
      if constexpr (kScales == Scales::kOfBoth) {
        total.sum[i][j] = V::fma(part.sum[i][j], V::set1(x[i] * w[j]), total.sum[i][j]);
      } else {
        total.sum[i][j] = V::fma(part.sum[i][j], factor, total.sum[i][j]);
      }
    }
  }
}

// The first row of x and of the weight that a tile takes.
struct Corner {
  uint32_t r = 0;
  uint32_t o = 0;
  uint32_t apart = 1;  // distance of its weight rows
};

// The dot products over all columns, each block of 128 multiplied by its scale or scales.
template <typename V, typename D, Scales kScales, uint32_t R, uint32_t O, typename A>
DSV3_INLINE void dot_blocks(const PanelArgs& args, const Corner& at, const typename D::T* const* w,
                            const typename D::X* const (&x)[R], A& ahead, Tile<V, R, O>& total) {
  const WeightRows& weight = args.weight;
  const float* scales[O];
  DSV3_UNROLL
  for (uint32_t j = 0; j < O; ++j) {
    scales[j] =
        weight.scales + (weight.first_row + at.o + j * at.apart) / kBlock * weight.scale_stride;
  }
  for (uint32_t begin = 0, block = 0; begin < weight.cols; begin += kBlock, ++block) {
    const uint32_t end = weight.cols - begin < kBlock ? weight.cols : begin + kBlock;
    Tile<V, R, O> part;  // NOLINT(cppcoreguidelines-pro-type-member-init): cleared next
    part.clear();
    dot_range<V, D, R, O>(w, x, begin, end, ahead, part);
    float w_factors[O];
    float x_factors[R] = {};
    DSV3_UNROLL
    for (uint32_t j = 0; j < O; ++j) w_factors[j] = scales[j][block];
    if constexpr (kScales == Scales::kOfBoth) {
      DSV3_UNROLL
      for (uint32_t i = 0; i < R; ++i) {
        x_factors[i] = args.x_scales[(at.r + i) * args.x_scale_stride + block];
      }
    }
    add_scaled<V, kScales, R, O>(part, w_factors, x_factors, total);
  }
}

// The sums of all registers from the `kFirst`th on, as many at once as V can.
template <typename V, uint32_t kCount, uint32_t kFirst = 0, typename Y>
DSV3_INLINE void sums_of(const typename V::F* sums, Y* outs) {
  constexpr uint32_t kLeft = kCount - kFirst;
  constexpr uint32_t kNow = kLeft >= V::kTileOuts ? V::kTileOuts : kLeft >= 4 ? 4 : 1;
  V::template store_sums<kNow>(sums + kFirst, outs + kFirst);
  if constexpr (kLeft > kNow) sums_of<V, kCount, kFirst + kNow>(sums, outs);
}

}  // namespace
}  // namespace dsv3
