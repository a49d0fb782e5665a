// Ends what cpu_avx512_begin.h began.

#if defined(__clang__)
#  pragma clang attribute pop
#else
#  pragma GCC pop_options
#  pragma GCC diagnostic pop
#endif
