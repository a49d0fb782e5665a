// The loops of ceiling_loops.h, written once for all instruction sets. Included inside a target
// region, so it calls nothing but V's and D's functions.
#pragma once

#include "ceiling_loops.h"

namespace dsv3::bench {
namespace {

// V::Bits: a register; load(p), mix(a, b), fold(a), zero().
template <class V, uint32_t kStreams, bool kPrefetch>
uint64_t read_loop(const std::byte* data, uint64_t bytes) {
  constexpr uint32_t kSums = 8;
  constexpr uint64_t kStep = kSums * V::kBytes;
  constexpr uint64_t kAhead = 2048;
  const uint64_t part = bytes / kStreams;
  typename V::Bits sums[kSums];
#pragma GCC unroll 8
  for (uint32_t i = 0; i < kSums; ++i) sums[i] = V::zero();
  for (uint64_t at = 0; at < part; at += kStep) {
#pragma GCC unroll 4
    for (uint32_t s = 0; s < kStreams; ++s) {
      const std::byte* const p = data + s * part + at;
#pragma GCC unroll 8
      for (uint32_t i = 0; i < kSums; ++i) {
        const std::byte* const place = p + i * V::kBytes;
        if (kPrefetch && i * V::kBytes % 64 == 0) __builtin_prefetch(place + kAhead, 0, 3);
        sums[i] = V::mix(sums[i], V::load(place));
      }
    }
  }
#pragma GCC unroll 8
  for (uint32_t i = 1; i < kSums; ++i) sums[0] = V::mix(sums[0], sums[i]);
  return V::fold(sums[0]);
}

// D: sums of type Sum, factors of types W and X taken kStep elements at a time from kWBytes and
// kXBytes of memory; kOps operations a mad.
template <class D>
double tile_loop(const std::byte* operands, uint32_t rounds, std::byte* sink) {
  constexpr uint32_t kRows = D::kRows;
  constexpr uint32_t kOuts = D::kOuts;
  constexpr uint32_t kSteps = kTileOperandBytes / (kRows * D::kXBytes + kOuts * D::kWBytes);
  const std::byte* const weights = operands + uint64_t{kSteps} * kRows * D::kXBytes;
  typename D::Sum sums[kRows][kOuts];
// Every loop over the sums is unrolled: an index that is not constant would keep them in memory.
#pragma GCC unroll 8
  for (uint32_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (uint32_t o = 0; o < kOuts; ++o) sums[r][o] = D::zero();
  }
  for (uint32_t round = 0; round < rounds; ++round) {
    for (uint32_t k = 0; k < kSteps; ++k) {
      typename D::W w[kOuts];
#pragma GCC unroll 8
      for (uint32_t o = 0; o < kOuts; ++o) {
        w[o] = D::w(weights + (uint64_t{k} * kOuts + o) * D::kWBytes);
      }
#pragma GCC unroll 8
      for (uint32_t r = 0; r < kRows; ++r) {
        const typename D::X x = D::x(operands + (uint64_t{k} * kRows + r) * D::kXBytes);
#pragma GCC unroll 8
        for (uint32_t o = 0; o < kOuts; ++o) sums[r][o] = D::mad(sums[r][o], x, w[o]);
      }
    }
  }
#pragma GCC unroll 8
  for (uint32_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (uint32_t o = 0; o < kOuts; ++o) D::store(sink + (r * kOuts + o) * 64, sums[r][o]);
  }
  return D::kOps * kRows * kOuts * kSteps * static_cast<double>(rounds);
}

template <class V>
constexpr void fill_reads(CeilingLoops& loops) {
  loops.read[0] = read_loop<V, 1, false>;
  loops.read[1] = read_loop<V, 1, true>;
  loops.read[2] = read_loop<V, 4, false>;
  loops.read[3] = read_loop<V, 4, true>;
}

}  // namespace
}  // namespace dsv3::bench
