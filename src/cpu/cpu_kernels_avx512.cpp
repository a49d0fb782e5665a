// The primitive loops for AVX-512 F/BW/VL/DQ and BF16: sixteen floats at a time, and dot products
// of BF16 pairs (vdpbf16ps) where both sides are BF16.
#include "cpu/cpu_kernels.h"

#if defined(__x86_64__)

#  include <immintrin.h>

#  if defined(__clang__)
#    pragma clang attribute push(                                                          \
        __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma,f16c"))), \
        apply_to = function)
#  else
// g++ 12 warns about the deliberately undefined registers inside its own intrinsics (GCC bug
// 105593).
#    pragma GCC diagnostic push
#    pragma GCC diagnostic ignored "-Wuninitialized"
#    pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#    pragma GCC push_options
#    pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma,f16c")
#  endif

#  include "cpu/cpu_kernels_vector.h"

namespace dsv3 {
namespace {

inline __mmask16 first16(uint32_t n) { return static_cast<__mmask16>((1u << n) - 1u); }
inline __mmask32 first32(uint32_t n) { return static_cast<__mmask32>((uint64_t{1} << n) - 1u); }

struct Avx512 {
  using F = __m512;
  static constexpr uint32_t kLanes = 16;
  static constexpr uint32_t kTileRows = 4;  // 4 x 4 sums + 4 weights + 1 x of 32 registers
  static constexpr uint32_t kGemvOuts = 8;  // enough independent sums to hide the latency

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

  static __m128 quarters(F x) {
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  }
  // Halves, quarters, then lanes (0 + 2) + (1 + 3): the same order as sums4.
  static float sum(F x) {
    const __m128 four = quarters(x);
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }
  static void sums4(const F* x, float* y) {
    __m128 a = quarters(x[0]);
    __m128 b = quarters(x[1]);
    __m128 c = quarters(x[2]);
    __m128 d = quarters(x[3]);
    _MM_TRANSPOSE4_PS(a, b, c, d);
    _mm_storeu_ps(y, _mm_add_ps(_mm_add_ps(a, c), _mm_add_ps(b, d)));
  }
  static float max_lane(F x) { return _mm512_reduce_max_ps(x); }

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
  static __m512 widen(__m256i bits) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }
  static __m512 load(const T* p) {
    return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static __m512 load_n(const T* p, uint32_t n) {
    return widen(_mm256_maskz_loadu_epi16(first16(n), p));
  }
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

// The 32 BF16 values of 32 e4m3 bytes. A normal number moves into BF16's fields (bias 7 against
// 127); subnormals would become BF16 denormals, which vdpbf16ps flushes, so they come from a table
// of eight.
inline __m512i f8_bits_to_bf16(__m256i bytes) {
  const __m512i wide = _mm512_cvtepu8_epi16(bytes);
  const __m512i code = _mm512_and_si512(wide, _mm512_set1_epi16(0x7f));
  // m * 2^-9 for m = 0 .. 7, in BF16, repeated over the register.
  const __m512i small = _mm512_broadcast_i32x4(
      _mm_setr_epi16(0x0000, 0x3b00, 0x3b80, 0x3bc0, 0x3c00, 0x3c20, 0x3c40, 0x3c60));
  const __m512i normal = _mm512_add_epi16(_mm512_slli_epi16(code, 4), _mm512_set1_epi16(120 << 7));
  const __mmask32 is_small = _mm512_cmplt_epu16_mask(code, _mm512_set1_epi16(8));
  const __mmask32 is_nan = _mm512_cmpeq_epi16_mask(code, _mm512_set1_epi16(0x7f));
  __m512i bits = _mm512_mask_permutexvar_epi16(normal, is_small, code, small);
  bits = _mm512_mask_mov_epi16(bits, is_nan, _mm512_set1_epi16(0x7fc0));
  const __m512i sign = _mm512_slli_epi16(_mm512_srli_epi16(wide, 7), 15);
  return _mm512_or_si512(bits, sign);
}

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

struct DotF8BF16 : DotBF16 {
  using T = uint8_t;
  static W w(const T* p) {
    return as_bf16(f8_bits_to_bf16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
  }
  static W w_n(const T* p, uint32_t n) {
    return as_bf16(f8_bits_to_bf16(_mm256_maskz_loadu_epi8(first32(n), p)));
  }
};

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
  for (; i + 32 <= count; i += 32) {
    const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(src + i));
    _mm512_storeu_si512(dst + i, f8_bits_to_bf16(bytes));
  }
  if (i == count) return;
  const __mmask32 mask = first32(count - i);
  _mm512_mask_storeu_epi16(dst + i, mask, f8_bits_to_bf16(_mm256_maskz_loadu_epi8(mask, src + i)));
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
      .to_f32 = {to_f32_vector<Avx512, LoadBF16>, to_f32_vector<Avx512, LoadF16>,
                 to_f32_vector<Avx512, LoadF32>, to_f32_vector<Avx512, LoadF8>},
      .to_bf16 = to_bf16,
      .f8_to_bf16 = f8_to_bf16,
      .weighted_sum = {weighted_sum_vector<Avx512, LoadBF16>, weighted_sum_vector<Avx512, LoadF16>,
                       weighted_sum_vector<Avx512, LoadF32>, weighted_sum_vector<Avx512, LoadF8>},
  };
  fill_common<Avx512>(table);
  return table;
}

constexpr CpuKernels kAvx512Table = make_table();

}  // namespace
}  // namespace dsv3

#  if defined(__clang__)
#    pragma clang attribute pop
#  else
#    pragma GCC pop_options
#    pragma GCC diagnostic pop
#  endif

namespace dsv3 {
const CpuKernels* cpu_kernels_avx512() { return &kAvx512Table; }
}  // namespace dsv3

#else

namespace dsv3 {
const CpuKernels* cpu_kernels_avx512() { return nullptr; }
}  // namespace dsv3

#endif
