// The ceilings' loops for AVX2 and FMA: 32-byte loads; BF16 is widened, int8 goes through words.
#include "ceiling_loops.h"

#if defined(__x86_64__)

#  include <immintrin.h>

#  if defined(__clang__)
#    pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#  else
#    pragma GCC push_options
#    pragma GCC target("avx2,fma")
#  endif

#  include "ceiling_tile.h"

namespace dsv3::bench {
namespace {

struct Read256 {
  using Bits = __m256i;
  static constexpr uint32_t kBytes = 32;
  static Bits zero() { return _mm256_setzero_si256(); }
  static Bits load(const std::byte* p) {
    return _mm256_load_si256(reinterpret_cast<const __m256i*>(p));
  }
  static Bits mix(Bits a, Bits b) { return _mm256_xor_si256(a, b); }
  static uint64_t fold(Bits a) {
    const __m128i two = _mm_xor_si128(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    return static_cast<uint64_t>(_mm_cvtsi128_si64(two)) ^
           static_cast<uint64_t>(_mm_extract_epi64(two, 1));
  }
};

// 12 sums, 2 weights and 1 x of 16 registers.
struct F32x8 {
  using Sum = __m256;
  using W = __m256;
  using X = __m256;
  static constexpr uint32_t kRows = 6;
  static constexpr uint32_t kOuts = 2;
  static constexpr uint32_t kXBytes = 32;
  static constexpr uint32_t kWBytes = 32;
  static constexpr double kOps = 16.0;
  static Sum zero() { return _mm256_setzero_ps(); }
  static W w(const std::byte* p) { return _mm256_loadu_ps(reinterpret_cast<const float*>(p)); }
  static X x(const std::byte* p) {
    X loaded = _mm256_loadu_ps(reinterpret_cast<const float*>(p));
    asm("" : "+x"(loaded));  // once, not as an operand of each product
    return loaded;
  }
  static Sum mad(Sum sum, X x, W w) { return _mm256_fmadd_ps(x, w, sum); }
  static void store(std::byte* p, Sum sum) { _mm256_storeu_ps(reinterpret_cast<float*>(p), sum); }
};

// The weight is stored as BF16, the row has been widened before.
struct BF16x8 : F32x8 {
  static constexpr uint32_t kWBytes = 16;
  static W w(const std::byte* p) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  }
};

struct Int8x32 {
  using Sum = __m256i;
  using W = __m256i;
  using X = __m256i;
  static constexpr uint32_t kRows = 4;
  static constexpr uint32_t kOuts = 2;
  static constexpr uint32_t kXBytes = 32;
  static constexpr uint32_t kWBytes = 32;
  static constexpr double kOps = 64.0;
  static Sum zero() { return _mm256_setzero_si256(); }
  static W w(const std::byte* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  static X x(const std::byte* p) { return w(p); }
  static Sum mad(Sum sum, X x, W w) {
    const __m256i pairs = _mm256_maddubs_epi16(x, w);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
  static void store(std::byte* p, Sum sum) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), sum);
  }
};

constexpr CeilingLoops make_loops() {
  CeilingLoops loops{.bf16 = tile_loop<BF16x8>,
                     .f32 = tile_loop<F32x8>,
                     .int8 = tile_loop<Int8x32>,
                     .bf16_how = "widened to fp32, vfmadd",
                     .int8_how = "vpmaddubsw"};
  fill_reads<Read256>(loops);
  return loops;
}

}  // namespace
}  // namespace dsv3::bench

#  if defined(__clang__)
#    pragma clang attribute pop
#  else
#    pragma GCC pop_options
#  endif

namespace dsv3::bench {
CeilingLoops ceiling_loops_avx2() { return make_loops(); }
}  // namespace dsv3::bench

#else

namespace dsv3::bench {
CeilingLoops ceiling_loops_avx2() { return {}; }
}  // namespace dsv3::bench

#endif
