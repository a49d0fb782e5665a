// The floating-point control registers of each processor we know.
#include "base/fp_env.h"

#if defined(__x86_64__)
#  include <xmmintrin.h>
#elif !defined(__aarch64__)
#  error "fp_env.cpp: unknown processor; add its floating-point control register"
#endif

namespace dsv3 {

#if defined(__x86_64__)

namespace {

// Vector unit: all exceptions masked, round to nearest, no flush to zero, no denormals-are-zero.
constexpr uint32_t kMxcsr = 0x1f80;
// x87 (long double): all exceptions masked, 64-bit precision, round to nearest.
constexpr uint16_t kX87Control = 0x037f;
constexpr uint16_t kX87Flags = 0x003f;

struct X87Environment {
  uint16_t control, reserved0;
  uint16_t status, reserved1;
  uint16_t tags, reserved2;
  uint32_t pointers[4];
};
static_assert(sizeof(X87Environment) == 28);

uint16_t x87_control() {
  uint16_t control = 0;
  asm volatile("fnstcw %0" : "=m"(control));
  return control;
}

uint16_t x87_flags() {
  uint16_t status = 0;
  asm volatile("fnstsw %0" : "=am"(status));
  return static_cast<uint16_t>(status & kX87Flags);
}

// The flags can only be loaded with the whole environment; that is slow, so only when they differ.
// Loading the control word alone could trap on a flag that our own arithmetic left.
void x87_write(uint16_t control, uint16_t flags) {
  if (x87_control() == control && x87_flags() == flags) return;
  X87Environment environment = {};
  asm volatile("fnstenv %0" : "=m"(environment));
  environment.control = control;
  environment.status = static_cast<uint16_t>((environment.status & ~0x80ffu) | flags);
  asm volatile("fldenv %0" : : "m"(environment) : "memory");
}

}  // namespace

uint64_t fp_env_read() {
  return uint64_t{_mm_getcsr()} | uint64_t{x87_control()} << 32 | uint64_t{x87_flags()} << 48;
}

void fp_env_write(uint64_t state) {
  x87_write(static_cast<uint16_t>(state >> 32), static_cast<uint16_t>(state >> 48));
  _mm_setcsr(static_cast<uint32_t>(state));
}

uint64_t fp_env_library() { return uint64_t{kMxcsr} | uint64_t{kX87Control} << 32; }

#else

// FPCR (control) and FPSR (flags); both registers use their low 32 bits.
uint64_t fp_env_read() {
  uint64_t control = 0;
  uint64_t flags = 0;
  asm volatile("mrs %0, fpcr" : "=r"(control));
  asm volatile("mrs %0, fpsr" : "=r"(flags));
  return (control & 0xffffffffu) | flags << 32;
}

void fp_env_write(uint64_t state) {
  const uint64_t control = state & 0xffffffffu;
  const uint64_t flags = state >> 32;
  asm volatile("msr fpcr, %0" : : "r"(control));
  asm volatile("msr fpsr, %0" : : "r"(flags));
}

uint64_t fp_env_library() { return 0; }

#endif

}  // namespace dsv3
