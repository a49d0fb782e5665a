// The primitive loops for AVX-512 F/BW/VL/DQ and BF16: sixteen floats at a time, and dot products
// of BF16 pairs (vdpbf16ps) where both sides are BF16.
#include "cpu/cpu_kernels.h"

#if defined(__x86_64__)

#  include <immintrin.h>

#  include "cpu/cpu_avx512_begin.h"
#  include "cpu/cpu_kernels_vector.h"
#  include "cpu/cpu_rows_vector.h"
#  include "cpu/cpu_sample_vector.h"

namespace dsv3 {
namespace {

inline __mmask16 first16(uint32_t n) { return static_cast<__mmask16>((1u << n) - 1u); }
inline __mmask32 first32(uint32_t n) { return static_cast<__mmask32>((uint64_t{1} << n) - 1u); }

// Sixteen floats to BF16, nearest even; NaN stays a quiet NaN. Not vcvtneps2bf16: that one flushes
// denormals, and activations are the same at every level.
inline __m256i round_bf16(__m512 x) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __mmask16 is_nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  rounded = _mm512_mask_or_epi32(rounded, is_nan, bits, _mm512_set1_epi32(0x400000));
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16));
}

inline __m512 widen_bf16(__m256i bits) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}

struct Avx512 {
  using F = __m512;
  static constexpr uint32_t kLanes = 16;
  static constexpr uint32_t kRegisters = 32;
  static constexpr uint32_t kTileRows = 3;  // 3 x 8 sums + 3 x + 1 weight of 32 registers
  static constexpr uint32_t kTileOuts = 8;

  static F zero() { return _mm512_setzero_ps(); }
  static F set1(float x) { return _mm512_set1_ps(x); }
  static F load(const float* p) { return _mm512_loadu_ps(p); }
  static F load_n(const float* p, uint32_t n) { return _mm512_maskz_loadu_ps(first16(n), p); }
  static void store(float* p, F x) { _mm512_storeu_ps(p, x); }
  static void store_n(float* p, F x, uint32_t n) { _mm512_mask_storeu_ps(p, first16(n), x); }
  static F add(F a, F b) { return _mm512_add_ps(a, b); }
  static F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F div(F a, F b) { return _mm512_div_ps(a, b); }
  static F min(F a, F b) { return _mm512_min_ps(a, b); }
  static F max(F a, F b) { return _mm512_max_ps(a, b); }
  static F abs(F x) { return _mm512_abs_ps(x); }
  static F binade(F x) { return _mm512_and_ps(x, _mm512_set1_ps(__builtin_inff())); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F twice(const float* p) {
    const __m512i order = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    return _mm512_permutexvar_ps(order, _mm512_castps256_ps512(_mm256_loadu_ps(p)));
  }
  static F swap_pairs(F x) { return _mm512_permute_ps(x, 0xb1); }
  static F negate_even(F x) {
    return _mm512_xor_ps(x, _mm512_castsi512_ps(_mm512_set1_epi64(0x80000000)));
  }

  // Halves, quarters, then lanes (0 + 2) + (1 + 3): the order of all sums.
  static float sum(F x) {
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }
  // The halves of a and of b, added: 8 lanes each.
  static F add_halves(F a, F b) {
    return add(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
  }
  // The quarters of two results of add_halves, added: 4 lanes each of a0, b0, a1, b1.
  static F add_quarters(F a, F b) {
    return add(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
  }
  // The sums of eight registers: add_halves, add_quarters, lanes 2 apart, lanes 1 apart.
  DSV3_INLINE static __m256 sums8(const F* x) {
    const F a = add_quarters(add_halves(x[0], x[1]), add_halves(x[2], x[3]));
    const F b = add_quarters(add_halves(x[4], x[5]), add_halves(x[6], x[7]));
    const F pairs = add(_mm512_shuffle_ps(a, b, 0x44), _mm512_shuffle_ps(a, b, 0xee));
    const F sums = add(pairs, _mm512_shuffle_ps(pairs, pairs, 0xb1));
    // Each quarter i holds x[i], x[i], x[i + 4], x[i + 4].
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 2, 6, 10, 14, 0, 0, 0, 0, 0, 0, 0, 0);
    return _mm512_castps512_ps256(_mm512_permutexvar_ps(order, sums));
  }
  // The same of four.
  DSV3_INLINE static __m128 sums4(const F* x) {
    const F fours = add_quarters(add_halves(x[0], x[1]), add_halves(x[2], x[3]));
    const F pairs = add(fours, _mm512_shuffle_ps(fours, fours, 0x4e));
    const F sums = add(pairs, _mm512_shuffle_ps(pairs, pairs, 0xb1));
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    return _mm512_castps512_ps128(_mm512_permutexvar_ps(order, sums));
  }
  template <uint32_t N>
  DSV3_INLINE static void store_sums(const F* x, float* y) {
    if constexpr (N == 8) {
      _mm256_storeu_ps(y, sums8(x));
    } else if constexpr (N == 4) {
      _mm_storeu_ps(y, sums4(x));
    } else {
      DSV3_UNROLL
      for (uint32_t i = 0; i < N; ++i) y[i] = sum(x[i]);
    }
  }
  template <uint32_t N>
  DSV3_INLINE static void store_sums(const F* x, uint16_t* y) {
    if constexpr (N == 8) {
      const __m512 wide = _mm512_castps256_ps512(sums8(x));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(y), _mm256_castsi256_si128(round_bf16(wide)));
    } else if constexpr (N == 4) {
      const __m512 wide = _mm512_castps128_ps512(sums4(x));
      _mm_storel_epi64(reinterpret_cast<__m128i*>(y), _mm256_castsi256_si128(round_bf16(wide)));
    } else {
      DSV3_UNROLL
      for (uint32_t i = 0; i < N; ++i) {
        const __m256i rounded = round_bf16(_mm512_set1_ps(sum(x[i])));
        y[i] = static_cast<uint16_t>(_mm_extract_epi16(_mm256_castsi256_si128(rounded), 0));
      }
    }
  }
  static F load_bf16(const uint16_t* p) {
    return widen_bf16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static F load_bf16_n(const uint16_t* p, uint32_t n) {
    return widen_bf16(_mm256_maskz_loadu_epi16(first16(n), p));
  }
  static void store_bf16(uint16_t* p, F x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), round_bf16(x));
  }
  static void store_bf16_n(uint16_t* p, F x, uint32_t n) {
    _mm256_mask_storeu_epi16(p, first16(n), round_bf16(x));
  }
  static float max_lane(F x) { return _mm512_reduce_max_ps(x); }
  static uint32_t at_least(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }

  static F exp(F x) {
    const F low = _mm512_set1_ps(-87.33654f);  // below: 0, instead of a denormal
    const F n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(ExpSteps::kLog2E)),
                                     _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    F r = _mm512_fnmadd_ps(n, _mm512_set1_ps(ExpSteps::kLn2High), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(ExpSteps::kLn2Low), r);
    const F result = _mm512_scalef_ps(exp_polynomial<Avx512>(r), n);
    // The reduction of an infinite or huge x is not a number; its exponential is.
    const __mmask16 under = _mm512_cmp_ps_mask(x, low, _CMP_LT_OQ);
    const __mmask16 over = _mm512_cmp_ps_mask(x, _mm512_set1_ps(88.72283f), _CMP_GT_OQ);
    const F bounded = _mm512_mask_mov_ps(result, under, _mm512_setzero_ps());
    return _mm512_mask_mov_ps(bounded, over, _mm512_set1_ps(__builtin_inff()));
  }
};

struct LoadBF16 {
  using T = uint16_t;
  static __m512 load(const T* p) { return Avx512::load_bf16(p); }
  static __m512 load_n(const T* p, uint32_t n) { return Avx512::load_bf16_n(p, n); }
};

struct LoadF16 {
  using T = uint16_t;
  static __m512 load(const T* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static __m512 load_n(const T* p, uint32_t n) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first16(n), p));
  }
};

struct LoadF32 {
  using T = float;
  static __m512 load(const T* p) { return _mm512_loadu_ps(p); }
  static __m512 load_n(const T* p, uint32_t n) { return Avx512::load_n(p, n); }
};

// An e4m3 shifted into F16's fields is its value times 2^-8 (bias 7 against 15), subnormals
// included.
struct LoadF8 {
  using T = uint8_t;
  static __m512 widen(__m128i bytes) {
    const __m256i wide = _mm256_cvtepu8_epi16(bytes);
    const __m256i sign = _mm256_slli_epi16(_mm256_and_si256(wide, _mm256_set1_epi16(0x80)), 8);
    const __m256i rest = _mm256_slli_epi16(_mm256_and_si256(wide, _mm256_set1_epi16(0x7f)), 7);
    // The one code without a counterpart is the NaN.
    const __mmask16 nan = _mm256_cmpeq_epi16_mask(rest, _mm256_set1_epi16(0x3f80));
    const __m256i code = _mm256_mask_mov_epi16(rest, nan, _mm256_set1_epi16(0x7e00));
    const __m256i bits = _mm256_or_si256(sign, code);
    return _mm512_mul_ps(_mm512_cvtph_ps(bits), _mm512_set1_ps(256.0f));
  }
  static __m512 load(const T* p) {
    return widen(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static __m512 load_n(const T* p, uint32_t n) {
    return widen(_mm_maskz_loadu_epi8(first16(n), p));
  }
};

struct F8Bytes {
  alignas(64) uint8_t low[128];
  alignas(64) uint8_t high[128];
};

// The two bytes of the BF16 value of each e4m3 code without its sign, exactly: subnormals become
// normal numbers, 0x7f a NaN.
constexpr F8Bytes make_f8_bytes() {
  F8Bytes bytes{};
  for (uint32_t code = 0; code < 128; ++code) {
    uint32_t exponent = code >> 3;
    uint32_t mantissa = code & 7;
    uint32_t bits = ((exponent + 120) << 7) | (mantissa << 4);
    if (exponent == 0) {
      uint32_t shift = 0;
      while (mantissa != 0 && (mantissa & 8) == 0) {
        mantissa <<= 1;
        ++shift;
      }
      bits = mantissa == 0 ? 0 : ((121 - shift) << 7) | ((mantissa & 7) << 4);
    }
    if (code == 0x7f) bits = 0x7fc0;
    bytes.low[code] = static_cast<uint8_t>(bits);
    bytes.high[code] = static_cast<uint8_t>(bits >> 8);
  }
  return bytes;
}
constexpr F8Bytes kF8Bytes = make_f8_bytes();

struct Bits64 {
  __m512i low, high;  // elements 0 .. 31 and 32 .. 63, BF16
};

// The 64 BF16 values of 64 e4m3 codes: each byte by a table of 128 bytes in two registers.
inline Bits64 f8_bits_to_bf16(__m512i codes) {
  const __m512i order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);  // so that unpacking orders them
  const __m512i bytes = _mm512_permutexvar_epi64(order, codes);
  const __m512i low = _mm512_permutex2var_epi8(_mm512_load_si512(kF8Bytes.low), bytes,
                                               _mm512_load_si512(kF8Bytes.low + 64));
  const __m512i positive = _mm512_permutex2var_epi8(_mm512_load_si512(kF8Bytes.high), bytes,
                                                    _mm512_load_si512(kF8Bytes.high + 64));
  // positive | (bytes & sign)
  const __m512i high =
      _mm512_ternarylogic_epi32(positive, bytes, _mm512_set1_epi8(static_cast<char>(0x80)), 0xf8);
  return {_mm512_unpacklo_epi8(low, high), _mm512_unpackhi_epi8(low, high)};
}

inline __mmask64 first64(uint32_t n) { return (uint64_t{1} << n) - 1u; }

inline __m512bh as_bf16(__m512i bits) { return (__m512bh)bits; }

// The dot product of BF16 pairs with F32 sums.
struct DotBF16 {
  using T = uint16_t;
  using X = uint16_t;
  using W = __m512bh;
  using XF = __m512bh;
  static constexpr uint32_t kStep = 32;
  static W w(const T* p) { return as_bf16(_mm512_loadu_si512(p)); }
  static W w_n(const T* p, uint32_t n) { return as_bf16(_mm512_maskz_loadu_epi16(first32(n), p)); }
  static XF x(const X* p) { return w(p); }
  static XF x_n(const X* p, uint32_t n) { return w_n(p, n); }
  static __m512 mad(__m512 acc, W weight, XF row) { return _mm512_dpbf16_ps(acc, weight, row); }
};

// The same with weights decoded in registers.
struct DotF8BF16 {
  using T = uint8_t;
  using X = uint16_t;
  using W = Bits64;
  using XF = Bits64;
  static constexpr uint32_t kStep = 64;
  static W w(const T* p) { return f8_bits_to_bf16(_mm512_loadu_si512(p)); }
  static W w_n(const T* p, uint32_t n) {
    return f8_bits_to_bf16(_mm512_maskz_loadu_epi8(first64(n), p));
  }
  static XF x(const X* p) { return {_mm512_loadu_si512(p), _mm512_loadu_si512(p + 32)}; }
  static XF x_n(const X* p, uint32_t n) {
    if (n <= 32) return {_mm512_maskz_loadu_epi16(first32(n), p), _mm512_setzero_si512()};
    return {_mm512_loadu_si512(p), _mm512_maskz_loadu_epi16(first32(n - 32), p + 32)};
  }
  static __m512 mad(__m512 acc, const W& weight, const XF& row) {
    const __m512 sum = _mm512_dpbf16_ps(acc, as_bf16(weight.low), as_bf16(row.low));
    return _mm512_dpbf16_ps(sum, as_bf16(weight.high), as_bf16(row.high));
  }
};

void to_bf16(const float* src, uint32_t count, uint16_t* dst) {
  uint32_t i = 0;
  for (; i + 16 <= count; i += 16) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(dst + i), round_bf16(_mm512_loadu_ps(src + i)));
  }
  if (i == count) return;
  _mm256_mask_storeu_epi16(dst + i, first16(count - i),
                           round_bf16(Avx512::load_n(src + i, count - i)));
}

void f8_to_bf16(const uint8_t* src, uint32_t count, uint16_t* dst) {
  uint32_t i = 0;
  for (; i + 64 <= count; i += 64) {
    const Bits64 bits = f8_bits_to_bf16(_mm512_loadu_si512(src + i));
    _mm512_storeu_si512(dst + i, bits.low);
    _mm512_storeu_si512(dst + i + 32, bits.high);
  }
  if (i == count) return;
  const uint32_t n = count - i;
  const Bits64 bits = f8_bits_to_bf16(_mm512_maskz_loadu_epi8(first64(n), src + i));
  _mm512_mask_storeu_epi16(dst + i, first32(n < 32 ? n : 32), bits.low);
  if (n > 32) _mm512_mask_storeu_epi16(dst + i + 32, first32(n - 32), bits.high);
}

constexpr CpuKernels make_table() {
  CpuKernels table{
      .level = CpuLevel::kAvx512Bf16,
      .name = "avx512-bf16",
      .panel_f32 = {panel_vector<Avx512, DotF32<Avx512, LoadBF16>, Scales::kNone>,
                    panel_vector<Avx512, DotF32<Avx512, LoadF16>, Scales::kNone>,
                    panel_vector<Avx512, DotF32<Avx512, LoadF32>, Scales::kNone>,
                    panel_vector<Avx512, DotF32<Avx512, LoadF8>, Scales::kOfWeight>,
                    panel_vector<Avx512, DotF32<Avx512, LoadBF16>, Scales::kOfWeight>},
      .panel_bf16 = {panel_vector<Avx512, DotBF16, Scales::kNone>, nullptr, nullptr,
                     panel_vector<Avx512, DotF8BF16, Scales::kOfWeight>,
                     panel_vector<Avx512, DotBF16, Scales::kOfWeight>},
      .panel_codes = {nullptr, nullptr, nullptr, panel_vector<Avx512, DotF8BF16, Scales::kOfBoth>,
                      panel_vector<Avx512, DotBF16, Scales::kOfBoth>},
      .code_dtype = DType::kBF16,
      .decoded_rows_min = kFewRows<Avx512, Scales::kOfWeight> + 1,
      .to_f32 = {to_f32_vector<Avx512, LoadBF16>, to_f32_vector<Avx512, LoadF16>,
                 to_f32_vector<Avx512, LoadF32>, to_f32_vector<Avx512, LoadF8>},
      .to_bf16 = to_bf16,
      .f8_to_bf16 = f8_to_bf16,
      .weighted_sum = {weighted_sum_vector<Avx512, LoadBF16>, weighted_sum_vector<Avx512, LoadF16>,
                       weighted_sum_vector<Avx512, LoadF32>, weighted_sum_vector<Avx512, LoadF8>},
  };
  fill_common<Avx512>(table);
  fill_rows<Avx512>(table);
  fill_sampling<Avx512>(table);
  return table;
}

constexpr CpuKernels kAvx512Table = make_table();

}  // namespace
}  // namespace dsv3

#  include "cpu/cpu_avx512_end.h"

namespace dsv3 {
const CpuKernels* cpu_kernels_avx512() { return &kAvx512Table; }
}  // namespace dsv3

#else

namespace dsv3 {
const CpuKernels* cpu_kernels_avx512() { return nullptr; }
}  // namespace dsv3

#endif
