// How do few rows of x read a weight at the speed of memory? Four stretches of weight rows that lie
// far apart, line by line in turn. Included where cpu_kernels_vector.h is, under its rules.
//
// Card. Floor: the weight's bytes over the read ceiling. Measured (EPYC Zen 5, 2 threads,
// 2026-11-24): 71 of 77 GB/s from a mapped file while memory gives that, 51 of 52 while it gives
// less; from the second cache 190, 112 and 58 GB/s a core for 1, 4 and 8 rows of x of 1024 columns.
// What was tried instead is told in docs/performance.md.
#pragma once

#include <cstdint>

#include "cpu/cpu_dot_vector.h"
#include "cpu/cpu_kernels.h"
#include "cpu/cpu_unroll.h"

namespace dsv3 {
namespace {

inline constexpr uint32_t kLineBytes = 64;
inline constexpr uint32_t kStreams = 4;  // stretches of weight rows that are read in turn
inline constexpr uint64_t kAheadInStreamBytes = 1024;
inline constexpr uint32_t kKeptOuts = 16;  // outputs of a stream that are written together

// Each weight row so many bytes ahead of the reading. No state: every instruction of a step takes
// from how far the processor looks ahead itself.
struct AheadInStreams {
  template <typename D, uint32_t O>
  DSV3_INLINE void step(const typename D::T* const* w, uint64_t k) {
    DSV3_UNROLL
    for (uint32_t j = 0; j < O; ++j) {
      __builtin_prefetch(reinterpret_cast<const char*>(w[j] + k) + kAheadInStreamBytes, 0, 3);
    }
  }
};

// The same, so many bytes.
struct AheadBytes {
  uint64_t bytes = 0;

  template <typename D, uint32_t O>
  DSV3_INLINE void step(const typename D::T* const* w, uint64_t k) {
    DSV3_UNROLL
    for (uint32_t j = 0; j < O; ++j) {
      __builtin_prefetch(reinterpret_cast<const char*>(w[j] + k) + bytes, 0, 3);
    }
  }
};

// Half of a weight row of each stream: rows that are multiplied twice are fetched during both
// times.
struct AheadHalfRow {
  uint64_t offset = 0;  // bytes from the row that is read to the half that is fetched

  template <typename D, uint32_t O>
  DSV3_INLINE void step(const typename D::T* const* w, uint64_t k) {
    const uint64_t at = offset + k * sizeof(typename D::T) / 2;
    DSV3_UNROLL
    for (uint32_t j = 0; j < O; ++j) {
      __builtin_prefetch(reinterpret_cast<const char*>(w[j]) + at, 0, 3);
    }
  }
};

// A row of each of S streams for rows r .. r + R of x, into outs[R][S]. `at` names the first
// stream's.
template <typename V, typename D, Scales kScales, uint32_t R, uint32_t S, typename A, typename Y>
DSV3_INLINE void dot_stream_rows(const PanelArgs& args, const Corner& at, A ahead, Y* outs) {
  const WeightRows& weight = args.weight;
  const typename D::T* w[S];
  const typename D::X* x[R];
  DSV3_UNROLL
  for (uint32_t j = 0; j < S; ++j) {
    w[j] = static_cast<const typename D::T*>(weight.data) +
           (at.o + uint64_t{j} * at.apart) * weight.stride;
    DSV3_KEEP_POINTER(w[j]);
  }
  DSV3_UNROLL
  for (uint32_t i = 0; i < R; ++i) x[i] = static_cast<const typename D::X*>(args.x[at.r + i]);
  Tile<V, R, S> total;  // NOLINT(cppcoreguidelines-pro-type-member-init): cleared next
  total.clear();
  if constexpr (kScales == Scales::kNone) {
    dot_range<V, D, R, S>(w, x, 0, weight.cols, ahead, total);
  } else {
    dot_blocks<V, D, kScales, R, S>(args, at, w, x, ahead, total);
  }
  sums_of<V, R * S>(&total.sum[0][0], outs);
}

// How many sums are kept at once: half of the registers, together with those of a block of 128.
template <typename V, Scales kScales>
inline constexpr uint32_t kStreamSums = V::kRegisters / (kScales == Scales::kNone ? 2 : 4);

// A row of each stream for R rows of x, whether or not their sums fit at once.
template <typename V, typename D, Scales kScales, uint32_t R>
struct StreamStep {
  static constexpr uint32_t kSums = kStreamSums<V, kScales>;
  static constexpr bool kFits = R * kStreams <= kSums;
  // Streams at once. Scaled weights are decoded: each once, for all rows of x. Others are read
  // again from the nearest cache for the rows that did not fit.
  static constexpr uint32_t kTogether = kFits || kScales == Scales::kNone ? kStreams
                                        : R * 2 <= kSums                  ? 2
                                                                          : 1;

  // Where the output of row i and stream j stands in `outs`.
  static constexpr uint32_t place(uint32_t i, uint32_t j) {
    return j / kTogether * (R * kTogether) + i * kTogether + j % kTogether;
  }

  template <typename Y>
  DSV3_INLINE static void run(const PanelArgs& args, uint32_t part, uint32_t g, Y* outs) {
    const uint64_t row_bytes = args.weight.stride * sizeof(typename D::T);
    if constexpr (kFits) {
      dot_stream_rows<V, D, kScales, R, kStreams>(args, {0, g, part}, AheadInStreams{}, outs);
    } else if constexpr (kTogether == kStreams) {
      constexpr uint32_t kRows = kSums / kStreams;
      // Memory takes longer than a short row.
      const uint64_t lead = row_bytes < 2 * kAheadInStreamBytes ? 2 * row_bytes : row_bytes;
      dot_stream_rows<V, D, kScales, kRows, kStreams>(args, {0, g, part}, AheadHalfRow{lead}, outs);
      dot_stream_rows<V, D, kScales, R - kRows, kStreams>(
          args, {kRows, g, part}, AheadHalfRow{lead + row_bytes / 2}, outs + place(kRows, 0));
    } else {
      uint64_t lead = row_bytes < kAheadInStreamBytes ? 2 * row_bytes : row_bytes;
      if (lead > 4 * kAheadInStreamBytes) lead = 4 * kAheadInStreamBytes;
      for (uint32_t j = 0; j < kStreams; j += kTogether) {
        dot_stream_rows<V, D, kScales, R, kTogether>(args, {0, j * part + g, part},
                                                     AheadBytes{lead}, outs + place(0, j));
      }
    }
  }
};

// Outputs of some weight rows of each stream on their way to where they belong. One by one they
// would land in many places that may all meet in one set of the nearest cache.
template <typename Step, uint32_t R, typename Y>
struct KeptOuts {
  Y outs[kKeptOuts][R * kStreams];

  // The outputs of weight rows end - count .. end of each stream.
  void write(const PanelArgs& args, uint32_t part, uint32_t end, uint32_t count) const {
    for (uint32_t i = 0; i < R; ++i) {
      Y* row;
      if constexpr (sizeof(Y) == sizeof(float)) {
        row = args.y + i * args.y_stride;
      } else {
        row = args.y_rows[i];
      }
      for (uint32_t j = 0; j < kStreams; ++j) {
        Y* const to = row + j * uint64_t{part} + (end - count);
        for (uint32_t t = 0; t < count; ++t) to[t] = outs[t][Step::place(i, j)];
      }
    }
  }
};

// Asks for the beginnings of the streams that come next.
inline void prefetch_next(const PanelArgs& args, uint64_t row_bytes) {
  if (args.next == nullptr) return;
  const uint64_t part_bytes = args.next_rows / kStreams * row_bytes;
  for (uint64_t i = 0; i < kAheadInStreamBytes; i += kLineBytes) {
    DSV3_UNROLL
    for (uint32_t j = 0; j < kStreams; ++j) {
      __builtin_prefetch(static_cast<const char*>(args.next) + j * part_bytes + i, 0, 3);
    }
  }
}

// All rows of the streams.
template <typename V, typename D, Scales kScales, uint32_t R, typename Y>
void dot_streams(const PanelArgs& args, uint32_t part) {
  using Step = StreamStep<V, D, kScales, R>;
  KeptOuts<Step, R, Y> kept;  // NOLINT(cppcoreguidelines-pro-type-member-init): written first
  for (uint32_t g = 0; g < part; ++g) {
    if (g + 1 == part) prefetch_next(args, args.weight.stride * sizeof(typename D::T));
    Step::run(args, part, g, kept.outs[g % kKeptOuts]);
    if ((g + 1) % kKeptOuts == 0) kept.write(args, part, g + 1, kKeptOuts);
  }
  if (part % kKeptOuts != 0) kept.write(args, part, part, part % kKeptOuts);
}

template <typename V, Scales kScales>
inline constexpr uint32_t kFewRows =
    kScales == Scales::kNone ? kStreamSums<V, kScales> / 2 : kStreamSums<V, kScales>;

// Few rows of x: the weight is read once, at the speed of memory, which delivers several ascending
// streams that lie far apart faster than one. Returns how many outputs that were.
template <typename V, typename D, Scales kScales, uint32_t R = kFewRows<V, kScales>>
inline uint32_t dot_few_rows(const PanelArgs& args) {
  if constexpr (R > 1) {
    if (args.x_rows < R) return dot_few_rows<V, D, kScales, R - 1>(args);
  }
  const uint32_t part = args.weight.rows / kStreams;
  if (args.y_rows != nullptr) {
    dot_streams<V, D, kScales, R, uint16_t>(args, part);
  } else {
    dot_streams<V, D, kScales, R, float>(args, part);
  }
  return kStreams * part;
}

}  // namespace
}  // namespace dsv3
