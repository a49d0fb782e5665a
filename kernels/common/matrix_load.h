// ldmatrix: a warp fetches four 8x8 matrices of 16-bit elements from shared memory, in the layout
// of mma.sync fragments (mma.h). Lane i gives the address of row i % 8 of matrix i / 8, 16-byte
// aligned; out[m] is this lane's part of matrix m, the lower element in the lower bits.
#pragma once

#include "kernels/common/device_code.h"

#if defined(DSV3_EMULATED)
#  include "emulation/emulated_matrix_load.h"
#else

namespace dsv3::kernels {

// With g = lane / 4 and q = lane % 4: elements 2q and 2q+1 of row g.
__device__ __forceinline__ void load_matrices(uint32_t (&out)[4], const void* row) {
  const auto from = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(from)
               : "memory");
}

// Elements g of rows 2q and 2q+1.
__device__ __forceinline__ void load_matrices_transposed(uint32_t (&out)[4], const void* row) {
  const auto from = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(from)
               : "memory");
}

}  // namespace dsv3::kernels
#endif
