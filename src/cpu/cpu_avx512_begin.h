// Begins the functions of level avx512-bf16: what its instruction set is stands here, and in
// processor_has_avx512 (cpu_ops.cpp). Included once by each of their files, after <immintrin.h>;
// cpu_avx512_end.h ends them. Nothing of the standard library may be included between the two.

#if defined(__clang__)
#  pragma clang attribute push(                                                          \
      __attribute__((                                                                    \
          target("avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512bf16,fma,f16c"))), \
      apply_to = function)
#else
// g++ 12 warns about the deliberately undefined registers inside its own intrinsics (GCC bug
// 105593).
#  pragma GCC diagnostic push
#  pragma GCC diagnostic ignored "-Wuninitialized"
#  pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#  pragma GCC push_options
#  pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512bf16,fma,f16c")
#endif
