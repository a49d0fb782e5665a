// The ceilings' loops for AVX-512: 64-byte loads, vdpbf16ps, vpdpbusd.
#include "ceiling_loops.h"

#if defined(__x86_64__)

#  include <immintrin.h>

#  if defined(__clang__)
#    pragma clang attribute push(                                                            \
        __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx512vnni"))), \
        apply_to = function)
#  else
// g++ 12 warns about the undefined registers inside its own intrinsics (GCC bug 105593).
#    pragma GCC diagnostic push
#    pragma GCC diagnostic ignored "-Wuninitialized"
#    pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#    pragma GCC push_options
#    pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx512vnni")
#  endif

#  include "ceiling_tile.h"

namespace dsv3::bench {
namespace {

struct Read512 {
  using Bits = __m512i;
  static constexpr uint32_t kBytes = 64;
  static Bits zero() { return _mm512_setzero_si512(); }
  static Bits load(const std::byte* p) { return _mm512_load_si512(p); }
  static Bits mix(Bits a, Bits b) { return _mm512_xor_si512(a, b); }
  static uint64_t fold(Bits a) { return static_cast<uint64_t>(_mm512_reduce_add_epi64(a)); }
};

// 24 sums, 4 weights and 1 x of 32 registers; as many loads as ports allow beside the products.
struct Tile512 {
  static constexpr uint32_t kRows = 6;
  static constexpr uint32_t kOuts = 4;
  static constexpr uint32_t kXBytes = 64;
  static constexpr uint32_t kWBytes = 64;
};

struct F32x16 : Tile512 {
  using Sum = __m512;
  using W = __m512;
  using X = __m512;
  static constexpr double kOps = 32.0;
  static Sum zero() { return _mm512_setzero_ps(); }
  static W w(const std::byte* p) { return _mm512_loadu_ps(p); }
  static X x(const std::byte* p) { return _mm512_loadu_ps(p); }
  static Sum mad(Sum sum, X x, W w) { return _mm512_fmadd_ps(x, w, sum); }
  static void store(std::byte* p, Sum sum) { _mm512_storeu_ps(p, sum); }
};

struct BF16x32 : F32x16 {
  using W = __m512bh;
  using X = __m512bh;
  static constexpr double kOps = 64.0;
  static W w(const std::byte* p) { return (__m512bh)_mm512_loadu_si512(p); }
  static X x(const std::byte* p) { return (__m512bh)_mm512_loadu_si512(p); }
  static Sum mad(Sum sum, X x, W w) { return _mm512_dpbf16_ps(sum, x, w); }
};

struct Int8x64 : Tile512 {
  using Sum = __m512i;
  using W = __m512i;
  using X = __m512i;
  static constexpr double kOps = 128.0;
  static Sum zero() { return _mm512_setzero_si512(); }
  static W w(const std::byte* p) { return _mm512_loadu_si512(p); }
  static X x(const std::byte* p) { return _mm512_loadu_si512(p); }
  static Sum mad(Sum sum, X x, W w) { return _mm512_dpbusd_epi32(sum, x, w); }
  static void store(std::byte* p, Sum sum) { _mm512_storeu_si512(p, sum); }
};

constexpr CeilingLoops make_loops() {
  CeilingLoops loops{.bf16 = tile_loop<BF16x32>,
                     .f32 = tile_loop<F32x16>,
                     .int8 = tile_loop<Int8x64>,
                     .bf16_how = "vdpbf16ps",
                     .int8_how = "vpdpbusd"};
  fill_reads<Read512>(loops);
  return loops;
}

}  // namespace
}  // namespace dsv3::bench

#  if defined(__clang__)
#    pragma clang attribute pop
#  else
#    pragma GCC pop_options
#    pragma GCC diagnostic pop
#  endif

namespace dsv3::bench {
CeilingLoops ceiling_loops_avx512() { return make_loops(); }
}  // namespace dsv3::bench

#else

namespace dsv3::bench {
CeilingLoops ceiling_loops_avx512() { return {}; }
}  // namespace dsv3::bench

#endif
