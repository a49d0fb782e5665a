// Tensor-core products of one warp (mma.sync), in PTX's fragment layout. With g = lane / 4 and
// q = lane % 4:
//   bf16 m16n8k16  a: rows g, g+8 x k pairs {2q, 2q+1}, {2q+8, 2q+9}: a0 (g, lo) a1 (g+8, lo)
//                  a2 (g, hi) a3 (g+8, hi);  b: k pairs 2q (b0), 2q+8 (b1) of column g
//   e4m3 m16n8k32  the same with k quads 4q, 4q+16
//   d              d0, d1: row g, columns 2q, 2q+1; d2, d3: row g+8
// The lower k stands in the lower bits.
#pragma once

#include "kernels/common/device_code.h"

#if defined(DSV3_EMULATED)
#  include "emulation/emulated_mma.h"
#else

namespace dsv3::kernels {

// d += a b, FP32 accumulation. All 32 lanes.
__device__ __forceinline__ void mma_bf16(float (&d)[4], const uint32_t (&a)[4],
                                         const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Needs sm_89; on older devices it leaves NaN (src/cuda refuses the profile there).
__device__ __forceinline__ void mma_e4m3(float (&d)[4], const uint32_t (&a)[4],
                                         const uint32_t (&b)[2]) {
#  if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#  else
  for (float& value : d) value = __uint_as_float(0x7fc00000u + (a[0] & b[0] & 0u));
#  endif
}

}  // namespace dsv3::kernels
#endif
