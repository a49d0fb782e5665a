// The primitive loops for AVX2, FMA and F16C: eight floats at a time.
#include "cpu/cpu_kernels.h"

#if defined(__x86_64__)

#  include <immintrin.h>

#  if defined(__clang__)
#    pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#  else
#    pragma GCC push_options
#    pragma GCC target("avx2,fma,f16c")
#  endif

#  include "cpu/cpu_kernels_vector.h"
#  include "cpu/cpu_rows_vector.h"
#  include "cpu/cpu_sample_vector.h"

namespace dsv3 {
namespace {

// The first n < 8 lanes set.
inline __m256i lane_mask(uint32_t n) {
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lanes);
}

// Eight 16-bit elements, the first n of them read.
inline __m128i load16_n(const uint16_t* p, uint32_t n) {
  uint16_t buffer[8] = {};
  for (uint32_t i = 0; i < n; ++i) buffer[i] = p[i];
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(buffer));
}

// Eight floats to BF16, nearest even; NaN stays a quiet NaN.
inline __m128i round_bf16(__m256 x) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  const __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  const __m256i high = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, is_nan), 16);
  return _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
}

inline __m256 widen_bf16(__m128i bits) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}

struct Avx2 {
  using F = __m256;
  static constexpr uint32_t kLanes = 8;
  static constexpr uint32_t kRegisters = 16;
  static constexpr uint32_t kTileRows = 3;  // 3 x 4 sums + 3 x + 1 weight of 16 registers
  static constexpr uint32_t kTileOuts = 4;

  static F zero() { return _mm256_setzero_ps(); }
  static F set1(float x) { return _mm256_set1_ps(x); }
  static F load(const float* p) { return _mm256_loadu_ps(p); }
  static F load_n(const float* p, uint32_t n) { return _mm256_maskload_ps(p, lane_mask(n)); }
  static void store(float* p, F x) { _mm256_storeu_ps(p, x); }
  static void store_n(float* p, F x, uint32_t n) { _mm256_maskstore_ps(p, lane_mask(n), x); }
  static F add(F a, F b) { return _mm256_add_ps(a, b); }
  static F sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F div(F a, F b) { return _mm256_div_ps(a, b); }
  static F min(F a, F b) { return _mm256_min_ps(a, b); }
  static F max(F a, F b) { return _mm256_max_ps(a, b); }
  static F abs(F x) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x); }
  static F binade(F x) { return _mm256_and_ps(x, _mm256_set1_ps(__builtin_inff())); }
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static F twice(const float* p) {
    const __m128 x = _mm_loadu_ps(p);
    return _mm256_set_m128(_mm_unpackhi_ps(x, x), _mm_unpacklo_ps(x, x));
  }
  static F swap_pairs(F x) { return _mm256_permute_ps(x, 0xb1); }
  static F negate_even(F x) {
    return _mm256_xor_ps(x, _mm256_castsi256_ps(_mm256_set1_epi64x(0x80000000)));
  }

  static __m128 halves(F x) {
    return _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  }
  // Halves, then lanes (0 + 2) + (1 + 3): the same order as sums4.
  static float sum(F x) {
    const __m128 four = halves(x);
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }
  DSV3_INLINE static __m128 sums4(const F* x) {
    __m128 a = halves(x[0]);
    __m128 b = halves(x[1]);
    __m128 c = halves(x[2]);
    __m128 d = halves(x[3]);
    _MM_TRANSPOSE4_PS(a, b, c, d);
    return _mm_add_ps(_mm_add_ps(a, c), _mm_add_ps(b, d));
  }
  template <uint32_t N>
  DSV3_INLINE static void store_sums(const F* x, float* y) {
    if constexpr (N == 4) {
      _mm_storeu_ps(y, sums4(x));
    } else {
      DSV3_UNROLL
      for (uint32_t i = 0; i < N; ++i) y[i] = sum(x[i]);
    }
  }
  template <uint32_t N>
  DSV3_INLINE static void store_sums(const F* x, uint16_t* y) {
    if constexpr (N == 4) {
      _mm_storel_epi64(reinterpret_cast<__m128i*>(y), round_bf16(_mm256_castps128_ps256(sums4(x))));
    } else {
      DSV3_UNROLL
      for (uint32_t i = 0; i < N; ++i) store_bf16_n(y + i, set1(sum(x[i])), 1);
    }
  }
  static F load_bf16(const uint16_t* p) {
    return widen_bf16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static F load_bf16_n(const uint16_t* p, uint32_t n) { return widen_bf16(load16_n(p, n)); }
  static void store_bf16(uint16_t* p, F x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), round_bf16(x));
  }
  static void store_bf16_n(uint16_t* p, F x, uint32_t n) {
    uint16_t buffer[8];
    store_bf16(buffer, x);
    for (uint32_t i = 0; i < n; ++i) p[i] = buffer[i];
  }
  static uint32_t at_least(F a, F b) {
    return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GE_OQ)));
  }
  static float max_lane(F x) {
    __m128 best = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    best = _mm_max_ps(best, _mm_movehl_ps(best, best));
    return _mm_cvtss_f32(_mm_max_ss(best, _mm_movehdup_ps(best)));
  }

  static F exp(F x) {
    // NaN passes the bounds because min and max return their second operand then.
    const F low = _mm256_set1_ps(-87.33654f);  // below: 0, instead of a denormal
    F bounded = _mm256_min_ps(_mm256_set1_ps(88.72283f), x);
    bounded = _mm256_max_ps(low, bounded);
    const F n = _mm256_round_ps(_mm256_mul_ps(bounded, _mm256_set1_ps(ExpSteps::kLog2E)),
                                _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    F r = _mm256_fnmadd_ps(n, _mm256_set1_ps(ExpSteps::kLn2High), bounded);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(ExpSteps::kLn2Low), r);
    // 2^n in two factors: n reaches 128, which one factor cannot hold.
    const __m256i power = _mm256_cvtps_epi32(n);
    const __m256i first = _mm256_srai_epi32(power, 1);
    const F grown = _mm256_mul_ps(exp_polynomial<Avx2>(r), power_of_two(first));
    F result = _mm256_mul_ps(grown, power_of_two(_mm256_sub_epi32(power, first)));
    result = _mm256_andnot_ps(_mm256_cmp_ps(x, low, _CMP_LT_OQ), result);
    const F over = _mm256_cmp_ps(x, _mm256_set1_ps(88.72283f), _CMP_GT_OQ);
    return _mm256_blendv_ps(result, _mm256_set1_ps(__builtin_inff()), over);
  }
  static F power_of_two(__m256i n) {
    const __m256i biased = _mm256_add_epi32(n, _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(biased, 23));
  }
};

struct LoadBF16 {
  using T = uint16_t;
  static __m256 load(const T* p) { return Avx2::load_bf16(p); }
  static __m256 load_n(const T* p, uint32_t n) { return Avx2::load_bf16_n(p, n); }
};

struct LoadF16 {
  using T = uint16_t;
  static __m256 load(const T* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static __m256 load_n(const T* p, uint32_t n) { return _mm256_cvtph_ps(load16_n(p, n)); }
};

struct LoadF32 {
  using T = float;
  static __m256 load(const T* p) { return _mm256_loadu_ps(p); }
  static __m256 load_n(const T* p, uint32_t n) { return Avx2::load_n(p, n); }
};

// An e4m3 shifted into F16's fields is its value times 2^-8 (bias 7 against 15), subnormals
// included.
struct LoadF8 {
  using T = uint8_t;
  static __m256 widen(__m128i bytes) {
    const __m128i wide = _mm_cvtepu8_epi16(bytes);
    const __m128i sign = _mm_slli_epi16(_mm_and_si128(wide, _mm_set1_epi16(0x80)), 8);
    const __m128i rest = _mm_slli_epi16(_mm_and_si128(wide, _mm_set1_epi16(0x7f)), 7);
    // The one code without a counterpart is the NaN.
    const __m128i nan = _mm_cmpeq_epi16(rest, _mm_set1_epi16(0x3f80));
    const __m128i bits = _mm_or_si128(sign, _mm_blendv_epi8(rest, _mm_set1_epi16(0x7e00), nan));
    return _mm256_mul_ps(_mm256_cvtph_ps(bits), _mm256_set1_ps(256.0f));
  }
  static __m256 load(const T* p) {
    return widen(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  }
  static __m256 load_n(const T* p, uint32_t n) {
    uint8_t buffer[16] = {};
    for (uint32_t i = 0; i < n; ++i) buffer[i] = p[i];
    return widen(_mm_loadu_si128(reinterpret_cast<const __m128i*>(buffer)));
  }
};

void to_bf16(const float* src, uint32_t count, uint16_t* dst) {
  uint32_t i = 0;
  for (; i + 8 <= count; i += 8) Avx2::store_bf16(dst + i, Avx2::load(src + i));
  if (i < count) Avx2::store_bf16_n(dst + i, Avx2::load_n(src + i, count - i), count - i);
}

// The 16 BF16 values of 16 e4m3 bytes: normal numbers move into BF16's fields (bias 7 against 127),
// subnormals come from a table of eight, so that none becomes a BF16 denormal.
inline __m256i f8_bits_to_bf16(__m128i bytes) {
  const __m256i wide = _mm256_cvtepu8_epi16(bytes);
  const __m256i code = _mm256_and_si256(wide, _mm256_set1_epi16(0x7f));
  const __m256i small = _mm256_broadcastsi128_si256(
      _mm_setr_epi16(0x0000, 0x3b00, 0x3b80, 0x3bc0, 0x3c00, 0x3c20, 0x3c40, 0x3c60));
  // Bytes 2 * code and 2 * code + 1 of the table.
  const __m256i both = _mm256_mullo_epi16(code, _mm256_set1_epi16(0x0202));
  const __m256i looked =
      _mm256_shuffle_epi8(small, _mm256_add_epi16(both, _mm256_set1_epi16(0x0100)));
  const __m256i normal = _mm256_add_epi16(_mm256_slli_epi16(code, 4), _mm256_set1_epi16(120 << 7));
  const __m256i is_small = _mm256_cmpgt_epi16(_mm256_set1_epi16(8), code);
  const __m256i is_nan = _mm256_cmpeq_epi16(code, _mm256_set1_epi16(0x7f));
  __m256i bits = _mm256_blendv_epi8(normal, looked, is_small);
  bits = _mm256_blendv_epi8(bits, _mm256_set1_epi16(0x7fc0), is_nan);
  return _mm256_or_si256(bits, _mm256_slli_epi16(_mm256_srli_epi16(wide, 7), 15));
}

void f8_to_bf16(const uint8_t* src, uint32_t count, uint16_t* dst) {
  uint32_t i = 0;
  for (; i + 16 <= count; i += 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(src + i));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(dst + i), f8_bits_to_bf16(bytes));
  }
  if (i == count) return;
  uint8_t tail[16] = {};
  uint16_t decoded[16];
  for (uint32_t j = 0; i + j < count; ++j) tail[j] = src[i + j];
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(tail));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(decoded), f8_bits_to_bf16(bytes));
  for (uint32_t j = 0; i + j < count; ++j) dst[i + j] = decoded[j];
}

constexpr CpuKernels make_table() {
  CpuKernels table{
      .level = CpuLevel::kAvx2,
      .name = "avx2",
      .panel_f32 = {panel_vector<Avx2, DotF32<Avx2, LoadBF16>, Scales::kNone>,
                    panel_vector<Avx2, DotF32<Avx2, LoadF16>, Scales::kNone>,
                    panel_vector<Avx2, DotF32<Avx2, LoadF32>, Scales::kNone>,
                    panel_vector<Avx2, DotF32<Avx2, LoadF8>, Scales::kOfWeight>,
                    panel_vector<Avx2, DotF32<Avx2, LoadBF16>, Scales::kOfWeight>},
      .panel_codes = {nullptr, nullptr, nullptr,
                      panel_vector<Avx2, DotF32<Avx2, LoadF8>, Scales::kOfBoth>,
                      panel_vector<Avx2, DotF32<Avx2, LoadBF16>, Scales::kOfBoth>},
      .to_f32 = {to_f32_vector<Avx2, LoadBF16>, to_f32_vector<Avx2, LoadF16>,
                 to_f32_vector<Avx2, LoadF32>, to_f32_vector<Avx2, LoadF8>},
      .to_bf16 = to_bf16,
      .f8_to_bf16 = f8_to_bf16,
      .weighted_sum = {weighted_sum_vector<Avx2, LoadBF16>, weighted_sum_vector<Avx2, LoadF16>,
                       weighted_sum_vector<Avx2, LoadF32>, weighted_sum_vector<Avx2, LoadF8>},
  };
  fill_common<Avx2>(table);
  fill_rows<Avx2>(table);
  fill_sampling<Avx2>(table);
  return table;
}

constexpr CpuKernels kAvx2Table = make_table();

}  // namespace
}  // namespace dsv3

#  if defined(__clang__)
#    pragma clang attribute pop
#  else
#    pragma GCC pop_options
#  endif

namespace dsv3 {
const CpuKernels* cpu_kernels_avx2() { return &kAvx2Table; }
}  // namespace dsv3

#else

namespace dsv3 {
const CpuKernels* cpu_kernels_avx2() { return nullptr; }
}  // namespace dsv3

#endif
