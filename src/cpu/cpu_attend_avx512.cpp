// The loops of attention for AVX-512 and BF16: sixteen lanes in one register, two products per lane
// and instruction (vdpbf16ps).
//
// Scores: the pair of a key is broadcast from memory, sixteen sums stand in registers, and a packed
// pair of lanes is read once for them; no sum runs across a register. Values: two rows of keys are
// interleaved in registers, eight lanes by two registers of columns are summed.
//
// Measured alone, hot, on one core of a 2-core EPYC Zen 5 (2026-11-24, best of 7, GFLOP/s; an
// earlier measurement of vdpbf16ps alone gave 540): scores of 64 keys x 576 x 16 lanes 520, x 32
// lanes 558; values of 64 keys x 512 x 16 lanes 448, x 128 columns 476; expand of 64 x 512 to 256
// outputs 549; softmax 0.2 us and packing 16 queries of 576 0.45 us.
// Dropped: fetching half of the next page within the loop over columns of the scores (2.2 x the
// floor of decoding instead of 1.45 x, from the third cache), or before it, tile by tile (1.9 x
// instead of 1.6 x on one thread, from memory).
#include "cpu/cpu_attend_kernels.h"

#if defined(__x86_64__)

#  include <immintrin.h>

#  include "cpu/cpu_avx512_begin.h"
#  include "cpu/cpu_unroll.h"

namespace dsv3 {
namespace {

constexpr float kInfinity = __builtin_inff();

inline __m512bh as_bf16(__m512i bits) { return (__m512bh)bits; }

inline int load_pair(const void* p) {
  int pair = 0;
  __builtin_memcpy(&pair, p, sizeof(pair));
  return pair;
}

// Both numbers of the pair at p, to all lanes.
inline __m512bh broadcast(const void* p) { return as_bf16(_mm512_set1_epi32(load_pair(p))); }
// The first of them, and zero.
inline __m512bh broadcast_one(const uint16_t* p) {
  return as_bf16(_mm512_set1_epi32(static_cast<int>(*p)));
}

// sums of L blocks of lanes by K rows. All loops over registers are unrolled.
template <uint32_t L, uint32_t K>
struct Scores {
  __m512 sum[L][K];
};

template <uint32_t L, uint32_t K>
inline Scores<L, K> score_tile(const uint32_t* const* lanes, const uint16_t* rows, uint64_t stride,
                               uint32_t width) {
  Scores<L, K> tile;  // NOLINT(cppcoreguidelines-pro-type-member-init): cleared next
  DSV3_UNROLL
  for (uint32_t l = 0; l < L; ++l) {
    DSV3_UNROLL
    for (uint32_t k = 0; k < K; ++k) tile.sum[l][k] = _mm512_setzero_ps();
  }
  // Few pointers, each with the offsets that an address can hold.
  constexpr uint32_t kBases = (K + 3) / 4;
  const uint16_t* base[kBases];
  DSV3_UNROLL
  for (uint32_t b = 0; b < kBases; ++b) base[b] = rows + size_t{4} * b * stride;
  const uint32_t pairs = width / 2;
  for (uint32_t p = 0; p < pairs; ++p) {
    __m512bh lane[L];
    DSV3_UNROLL
    for (uint32_t l = 0; l < L; ++l) {
      lane[l] = as_bf16(_mm512_loadu_si512(lanes[l] + size_t{p} * kLanes));
    }
    DSV3_UNROLL
    for (uint32_t k = 0; k < K; ++k) {
      const __m512bh key = broadcast(base[k / 4] + k % 4 * stride + size_t{2} * p);
      DSV3_UNROLL
      for (uint32_t l = 0; l < L; ++l) {
        tile.sum[l][k] = _mm512_dpbf16_ps(tile.sum[l][k], lane[l], key);
      }
    }
  }
  if (width % 2 != 0) {
    DSV3_UNROLL
    for (uint32_t k = 0; k < K; ++k) {
      const __m512bh key = broadcast_one(rows + k * stride + width - 1);
      DSV3_UNROLL
      for (uint32_t l = 0; l < L; ++l) {
        const __m512i lane = _mm512_loadu_si512(lanes[l] + size_t{pairs} * kLanes);
        tile.sum[l][k] = _mm512_dpbf16_ps(tile.sum[l][k], as_bf16(lane), key);
      }
    }
  }
  return tile;
}

template <uint32_t L, uint32_t K>
inline uint32_t score_rows(const AttendScores& args, uint32_t k) {
  const AttendRows& rows = args.rows;
  for (; k + K <= rows.count; k += K) {
    const auto tile =
        score_tile<L, K>(args.lanes, rows.data + k * rows.stride, rows.stride, rows.width);
    DSV3_UNROLL
    for (uint32_t l = 0; l < L; ++l) {
      DSV3_UNROLL
      for (uint32_t i = 0; i < K; ++i) {
        _mm512_storeu_ps(args.scores[l] + size_t{k + i} * kLanes, tile.sum[l][i]);
      }
    }
  }
  return k;
}

void scores(const AttendScores& args) {
  if (args.lanes[1] == nullptr) {
    uint32_t k = score_rows<1, 16>(args, 0);
    k = score_rows<1, 4>(args, k);
    score_rows<1, 1>(args, k);
  } else {
    const uint32_t k = score_rows<2, 8>(args, 0);
    score_rows<2, 1>(args, k);
  }
}

// Sixteen floats to BF16, nearest even; NaN stays a quiet NaN, denormals stay.
inline __m256i round_bf16(__m512 x) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __mmask16 is_nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  rounded = _mm512_mask_or_epi32(rounded, is_nan, bits, _mm512_set1_epi32(0x400000));
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16));
}

template <uint32_t L, uint32_t K>
inline uint32_t expand_rows(const AttendExpand& args, uint32_t o, uint32_t k) {
  const AttendRows& rows = args.rows;
  const uint64_t block = packed_words(rows.width);
  const uint32_t* lanes[L];
  for (uint32_t l = 0; l < L; ++l) lanes[l] = args.lanes + (o / kLanes + l) * block;
  for (; k + K <= rows.count; k += K) {
    const auto tile = score_tile<L, K>(lanes, rows.data + k * rows.stride, rows.stride, rows.width);
    DSV3_UNROLL
    for (uint32_t l = 0; l < L; ++l) {
      const uint32_t first = o + l * kLanes;
      const uint32_t left = args.outs - first;
      const auto mask = static_cast<__mmask16>(left >= kLanes ? 0xffffu : (1u << left) - 1u);
      DSV3_UNROLL
      for (uint32_t i = 0; i < K; ++i) {
        _mm256_mask_storeu_epi16(args.out + (k + i) * args.out_stride + first, mask,
                                 round_bf16(tile.sum[l][i]));
      }
    }
  }
  return k;
}

void expand(const AttendExpand& args) {
  uint32_t o = 0;
  for (; o + kLanes < args.outs; o += 2 * kLanes) {
    const uint32_t k = expand_rows<2, 8>(args, o, 0);
    expand_rows<2, 1>(args, o, k);
  }
  if (o < args.outs) {
    uint32_t k = expand_rows<1, 16>(args, o, 0);
    k = expand_rows<1, 4>(args, o, k);
    expand_rows<1, 1>(args, o, k);
  }
}

// 16 rows of 16 words to 16 columns.
inline void transpose(__m512i (&x)[16]) {
  __m512i t[16];
  DSV3_UNROLL
  for (uint32_t i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
  }
  DSV3_UNROLL
  for (uint32_t i = 0; i < 16; i += 4) {
    x[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    x[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    x[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    x[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  // x[4 i + j] holds columns j, j + 4, j + 8, j + 12 of rows 4 i .. 4 i + 3.
  DSV3_UNROLL
  for (uint32_t j = 0; j < 4; ++j) {
    const __m512i a = _mm512_shuffle_i32x4(x[j], x[4 + j], 0x88);
    const __m512i b = _mm512_shuffle_i32x4(x[8 + j], x[12 + j], 0x88);
    const __m512i c = _mm512_shuffle_i32x4(x[j], x[4 + j], 0xdd);
    const __m512i d = _mm512_shuffle_i32x4(x[8 + j], x[12 + j], 0xdd);
    t[j] = _mm512_shuffle_i32x4(a, b, 0x88);
    t[j + 4] = _mm512_shuffle_i32x4(c, d, 0x88);
    t[j + 8] = _mm512_shuffle_i32x4(a, b, 0xdd);
    t[j + 12] = _mm512_shuffle_i32x4(c, d, 0xdd);
  }
  DSV3_UNROLL
  for (uint32_t i = 0; i < 16; ++i) x[i] = t[i];
}

void pack(const uint16_t* const* rows, uint32_t width, uint32_t* out) {
  for (uint32_t begin = 0; begin < width; begin += 32) {
    const uint32_t count = width - begin < 32 ? width - begin : 32;
    const auto mask = static_cast<__mmask32>((uint64_t{1} << count) - 1u);
    __m512i x[16];
    DSV3_UNROLL
    for (uint32_t l = 0; l < kLanes; ++l) {
      x[l] = _mm512_setzero_si512();
      if (rows[l] != nullptr) x[l] = _mm512_maskz_loadu_epi16(mask, rows[l] + begin);
    }
    transpose(x);
    const uint32_t pairs = (count + 1) / 2;
    for (uint32_t p = 0; p < pairs; ++p) {
      _mm512_storeu_si512(out + (begin / 2 + size_t{p}) * kLanes, x[p]);
    }
  }
}

// exp(x) = 2^n * exp(r), n = round(x / ln 2), |r| <= ln 2 / 2, by its Taylor series to r^7, whose
// rest is below 2^-27 relative. ln 2 stands in two parts, so that n * ln 2 is subtracted exactly.
inline __m512 exp_of(__m512 x) {
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504088896341f)),
                                        _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440054690583e-4f), r);
  __m512 p = _mm512_set1_ps(1.0f / 5040.0f);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 720.0f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 120.0f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 24.0f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 6.0f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
  // Below, the result would be a denormal or come from -inf, whose reduction is not a number.
  const __mmask16 under = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-87.33654f), _CMP_LT_OQ);
  return _mm512_mask_mov_ps(_mm512_scalef_ps(p, n), under, _mm512_setzero_ps());
}

// The score of lanes that see key k, -inf in the others.
template <bool kMasked>
inline __m512 seen(const AttendSoftmax& args, uint32_t k, __m512i visible) {
  const __m512 score = _mm512_loadu_ps(args.scores + size_t{k} * kLanes);
  if constexpr (!kMasked) return score;
  const __mmask16 sees = _mm512_cmpgt_epu32_mask(visible, _mm512_set1_epi32(static_cast<int>(k)));
  return _mm512_mask_mov_ps(_mm512_set1_ps(-kInfinity), sees, score);
}

template <bool kMasked>
inline void softmax_page(const AttendSoftmax& args) {
  const __m512i visible = kMasked ? _mm512_loadu_si512(args.visible) : _mm512_setzero_si512();
  __m512 largest = _mm512_set1_ps(-kInfinity);
  for (uint32_t k = 0; k < args.keys; ++k) {
    largest = _mm512_max_ps(seen<kMasked>(args, k, visible), largest);  // passes NaN over
  }
  const __m512 scale = _mm512_set1_ps(args.scale);
  const __m512 before = _mm512_loadu_ps(args.state.max);
  const __m512 max = _mm512_max_ps(_mm512_mul_ps(largest, scale), before);
  const __mmask16 none = _mm512_cmp_ps_mask(max, _mm512_set1_ps(-kInfinity), _CMP_EQ_OQ);
  const __m512 shift = _mm512_mask_mov_ps(max, none, _mm512_setzero_ps());
  const __m512 factor = exp_of(_mm512_sub_ps(before, shift));
  __m512 sum = _mm512_mul_ps(_mm512_loadu_ps(args.state.sum), factor);
  // Words of two BF16 from the registers of an even and an odd key.
  const __m512i half = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  for (uint32_t k = 0; k < args.keys; k += 2) {
    const __m512 even = exp_of(_mm512_fmsub_ps(seen<kMasked>(args, k, visible), scale, shift));
    __m512 odd = _mm512_setzero_ps();
    if (k + 1 < args.keys) {
      odd = exp_of(_mm512_fmsub_ps(seen<kMasked>(args, k + 1, visible), scale, shift));
    }
    const __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(even));
    const __m512i high =
        _mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(odd)), 16);
    const __m512i pair = _mm512_or_si512(low, high);
    sum = _mm512_add_ps(sum, _mm512_castsi512_ps(_mm512_slli_epi32(pair, 16)));
    sum = _mm512_add_ps(sum, _mm512_castsi512_ps(_mm512_and_si512(pair, half)));
    _mm512_storeu_si512(args.p + size_t{k} / 2 * kLanes, pair);
  }
  _mm512_storeu_ps(args.state.max, max);
  _mm512_storeu_ps(args.state.sum, sum);
  _mm512_storeu_ps(args.state.factor, factor);
}

void softmax(const AttendSoftmax& args) {
  if (args.visible != nullptr) {
    softmax_page<true>(args);
  } else {
    softmax_page<false>(args);
  }
}

// Where columns 0 .. 15 and 16 .. 31 of rows a and b stand when the two are interleaved.
alignas(64) constexpr uint16_t kLowPairs[32] = {0,  32, 1,  33, 2,  34, 3,  35, 4,  36, 5,
                                                37, 6,  38, 7,  39, 8,  40, 9,  41, 10, 42,
                                                11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
alignas(64) constexpr uint16_t kHighPairs[32] = {16, 48, 17, 49, 18, 50, 19, 51, 20, 52, 21,
                                                 53, 22, 54, 23, 55, 24, 56, 25, 57, 26, 58,
                                                 27, 59, 28, 60, 29, 61, 30, 62, 31, 63};

inline void fetch(const uint16_t* p, int64_t ahead) {
  _mm_prefetch(reinterpret_cast<const char*>(p) + ahead, _MM_HINT_T1);
}

// The half of `mask` for sixteen columns from 16 * half.
inline __mmask16 half_mask(__mmask32 mask, uint32_t half) {
  return static_cast<__mmask16>(half % 2 == 0 ? mask : mask >> 16);
}

// Sums of M lanes from `lane` by 32 * C columns from `col`: those so far, scaled.
template <uint32_t M, uint32_t C>
DSV3_INLINE void load_sums(const AttendValues& args, uint32_t lane, uint32_t col, __mmask32 mask,
                           __m512 (&sum)[M][2 * C]) {
  DSV3_UNROLL
  for (size_t m = 0; m < M; ++m) {
    const float* acc = args.acc + (lane + m) * args.acc_stride + col;
    DSV3_UNROLL
    for (uint32_t c = 0; c < 2 * C; ++c) {
      sum[m][c] = _mm512_setzero_ps();
      if (args.is_fresh) continue;
      sum[m][c] = _mm512_maskz_loadu_ps(half_mask(mask, c), acc + size_t{16} * c);
      if (args.factor != nullptr) {
        sum[m][c] = _mm512_mul_ps(sum[m][c], _mm512_set1_ps(args.factor[lane + m]));
      }
    }
  }
}

template <uint32_t M, uint32_t C>
DSV3_INLINE void store_sums(const __m512 (&sum)[M][2 * C], uint32_t lane, uint32_t col,
                            __mmask32 mask, const AttendValues& args) {
  DSV3_UNROLL
  for (size_t m = 0; m < M; ++m) {
    float* acc = args.acc + (lane + m) * args.acc_stride + col;
    DSV3_UNROLL
    for (uint32_t c = 0; c < 2 * C; ++c) {
      _mm512_mask_storeu_ps(acc + size_t{16} * c, half_mask(mask, c), sum[m][c]);
    }
  }
}

// M lanes from `lane` by 32 * C columns from `col`; `mask` cuts the last 32.
template <uint32_t M, uint32_t C>
inline void value_tile(const AttendValues& args, uint32_t lane, uint32_t col, __mmask32 mask) {
  __m512 sum[M][2 * C];
  load_sums<M, C>(args, lane, col, mask, sum);
  const __m512i low_pairs = _mm512_load_si512(kLowPairs);
  const __m512i high_pairs = _mm512_load_si512(kHighPairs);
  const auto* p = static_cast<const char*>(args.p) + lane * args.lane_bytes;
  const uint16_t* row = args.rows.data + col;
  const uint64_t stride = args.rows.stride;
  const uint32_t pairs = args.rows.count / 2;
  const int64_t ahead = lane == 0 ? args.prefetch_bytes : 0;  // once for all lanes
  for (uint32_t i = 0; i < pairs; ++i) {
    __m512bh value[2 * C];
    DSV3_UNROLL
    for (uint32_t c = 0; c < C; ++c) {
      const __m512i a = _mm512_maskz_loadu_epi16(mask, row + size_t{32} * c);
      const __m512i b = _mm512_maskz_loadu_epi16(mask, row + stride + size_t{32} * c);
      value[2 * c] = as_bf16(_mm512_permutex2var_epi16(a, low_pairs, b));
      value[2 * c + 1] = as_bf16(_mm512_permutex2var_epi16(a, high_pairs, b));
      if (ahead != 0) {
        fetch(row + size_t{32} * c, ahead);
        fetch(row + stride + size_t{32} * c, ahead);
      }
    }
    DSV3_UNROLL
    for (uint32_t m = 0; m < M; ++m) {
      const __m512bh weight = broadcast(p + m * args.lane_bytes);
      DSV3_UNROLL
      for (uint32_t c = 0; c < 2 * C; ++c) {
        sum[m][c] = _mm512_dpbf16_ps(sum[m][c], value[c], weight);
      }
    }
    row += 2 * stride;
    p += args.pair_bytes;
  }
  if (args.rows.count % 2 != 0) {
    DSV3_UNROLL
    for (uint32_t c = 0; c < C; ++c) {
      const __m512i a = _mm512_maskz_loadu_epi16(mask, row + size_t{32} * c);
      const __m512bh low = as_bf16(_mm512_permutex2var_epi16(a, low_pairs, a));
      const __m512bh high = as_bf16(_mm512_permutex2var_epi16(a, high_pairs, a));
      DSV3_UNROLL
      for (uint32_t m = 0; m < M; ++m) {
        const __m512bh weight =
            broadcast_one(reinterpret_cast<const uint16_t*>(p + m * args.lane_bytes));
        sum[m][2 * c] = _mm512_dpbf16_ps(sum[m][2 * c], low, weight);
        sum[m][2 * c + 1] = _mm512_dpbf16_ps(sum[m][2 * c + 1], high, weight);
      }
    }
  }
  store_sums<M, C>(sum, lane, col, mask, args);
}

template <uint32_t M, uint32_t C>
inline uint32_t value_columns(const AttendValues& args, uint32_t lane, uint32_t col) {
  for (; col + 32 * C <= args.rows.width; col += 32 * C) {
    value_tile<M, C>(args, lane, col, ~__mmask32{0});
  }
  return col;
}

// All lanes of a stretch of columns, so that its rows come from the second cache once.
void values(const AttendValues& args) {
  uint32_t lane = 0;
  const uint32_t width = args.rows.width;
  const uint32_t tail = width % 32;
  const __mmask32 tail_mask = (__mmask32{1} << tail) - 1u;
  for (; lane + 8 <= args.lanes; lane += 8) {
    const uint32_t col = value_columns<8, 1>(args, lane, 0);
    if (tail != 0) value_tile<8, 1>(args, lane, col, tail_mask);
  }
  for (; lane + 4 <= args.lanes; lane += 4) {
    const uint32_t wide = value_columns<4, 2>(args, lane, 0);
    const uint32_t col = value_columns<4, 1>(args, lane, wide);
    if (tail != 0) value_tile<4, 1>(args, lane, col, tail_mask);
  }
  for (; lane < args.lanes; ++lane) {
    const uint32_t wide = value_columns<1, 4>(args, lane, 0);
    const uint32_t col = value_columns<1, 1>(args, lane, wide);
    if (tail != 0) value_tile<1, 1>(args, lane, col, tail_mask);
  }
}

bool is_finite(const uint16_t* x, uint64_t count) {
  const __m512i exponent = _mm512_set1_epi16(0x7f80);
  __mmask32 found = 0;
  for (uint64_t i = 0; i < count; i += 32) {
    const uint64_t left = count - i;
    const auto mask = static_cast<__mmask32>(left >= 32 ? ~0u : (1u << left) - 1u);
    const __m512i bits = _mm512_maskz_loadu_epi16(mask, x + i);
    found |= _mm512_cmpeq_epi16_mask(_mm512_and_si512(bits, exponent), exponent);
  }
  return found == 0;
}

constexpr AttendKernels kTable{.pack = pack,
                               .scores = scores,
                               .expand = expand,
                               .softmax = softmax,
                               .values = values,
                               .is_finite = is_finite};

}  // namespace
}  // namespace dsv3

#  include "cpu/cpu_avx512_end.h"

namespace dsv3 {
const AttendKernels* attend_kernels_avx512() { return &kTable; }
}  // namespace dsv3

#else

namespace dsv3 {
const AttendKernels* attend_kernels_avx512() { return nullptr; }
}  // namespace dsv3

#endif
