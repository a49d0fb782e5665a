// How do loops over registers become straight code, and calls among them none?
#pragma once

#if defined(__clang__)
#  define DSV3_UNROLL _Pragma("unroll")
#else
#  define DSV3_UNROLL _Pragma("GCC unroll 16")
#endif

// Where a tile's sums would go through memory if the call remained.
#define DSV3_INLINE __attribute__((always_inline)) inline

// Keeps several pointers from being computed out of each other anew in every step of a loop.
#define DSV3_KEEP_POINTER(pointer) __asm__("" : "+r"(pointer))
