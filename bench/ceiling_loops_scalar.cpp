// The ceilings' loops in plain C++, as the scalar functions of src/cpu are; and which loops count.
#include <cstring>

#include "ceiling_loops.h"
#include "ceiling_tile.h"

namespace dsv3::bench {
namespace {

struct Read64 {
  using Bits = uint64_t;
  static constexpr uint32_t kBytes = 8;
  static Bits zero() { return 0; }
  static Bits load(const std::byte* p) {
    Bits bits;
    std::memcpy(&bits, p, sizeof(bits));
    return bits;
  }
  static Bits mix(Bits a, Bits b) { return a ^ b; }
  static uint64_t fold(Bits a) { return a; }
};

template <class T, class Wide>
struct Plain {
  using Sum = Wide;
  using W = Wide;
  using X = Wide;
  static constexpr uint32_t kRows = 4;
  static constexpr uint32_t kOuts = 2;
  static constexpr uint32_t kXBytes = sizeof(T);
  static constexpr uint32_t kWBytes = sizeof(T);
  static constexpr double kOps = 2.0;
  static Sum zero() { return Sum(); }
  static W w(const std::byte* p) {
    T value;
    std::memcpy(&value, p, sizeof(value));
    return static_cast<Wide>(value);
  }
  static X x(const std::byte* p) { return w(p); }
  static Sum mad(Sum sum, X x, W w) { return sum + x * w; }
  static void store(std::byte* p, Sum sum) { std::memcpy(p, &sum, sizeof(sum)); }
};

struct PlainBF16 : Plain<float, float> {
  static constexpr uint32_t kWBytes = 2;
  static W w(const std::byte* p) {
    uint16_t stored;
    std::memcpy(&stored, p, sizeof(stored));
    const uint32_t bits = uint32_t{stored} << 16;
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    return value;
  }
};

bool has_vnni() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512vnni") != 0;
#else
  return false;
#endif
}

}  // namespace

CeilingLoops ceiling_loops_scalar() {
  CeilingLoops loops{.bf16 = tile_loop<PlainBF16>,
                     .f32 = tile_loop<Plain<float, float>>,
                     .int8 = tile_loop<Plain<int8_t, uint32_t>>,
                     .bf16_how = "widened to fp32, plain C++",
                     .int8_how = "plain C++"};
  fill_reads<Read64>(loops);
  return loops;
}

CeilingLoops ceiling_loops(CpuLevel level) {
  if (level == CpuLevel::kScalar) return ceiling_loops_scalar();
  const CeilingLoops avx2 = ceiling_loops_avx2();
  if (level == CpuLevel::kAvx2) return avx2;
  CeilingLoops loops = ceiling_loops_avx512();
  if (!has_vnni()) {
    loops.int8 = avx2.int8;
    loops.int8_how = avx2.int8_how;
  }
  return loops;
}

}  // namespace dsv3::bench
