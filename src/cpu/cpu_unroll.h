// How do loops over registers become straight code, and calls among them none?
#pragma once

#if defined(__clang__)
#  define DSV3_UNROLL _Pragma("unroll")
#else
#  define DSV3_UNROLL _Pragma("GCC unroll 16")
#endif

// Where a tile's sums would go through memory if the call remained.
#define DSV3_INLINE __attribute__((always_inline)) inline
