// Where a token's latent and rope key stand in a page of the cache, for every type of page.
#pragma once

#include "kernels/common/numeric.h"

namespace dsv3::kernels {

// The two parts of one cached row as addresses of their first elements.
struct CachedRow {
  unsigned char* latent = nullptr;  // Rkv elements of the pages' type
  unsigned char* rope = nullptr;    // dr elements of that type, BF16 when F8E4M3
  float* scales = nullptr;          // [ceil(Rkv/128)], F8E4M3 only
};

__device__ __forceinline__ uint32_t rope_dim_of(const Pages& pages, uint32_t rank) {
  return pages.width - rank;
}

// Type of the rope part.
__device__ __forceinline__ Type rope_type(const Pages& pages) {
  return pages.type == Type::kF8E4M3 ? Type::kBF16 : pages.type;
}

__device__ __forceinline__ CachedRow cached_row(const Pages& pages, uint32_t rank, int32_t page,
                                                uint32_t slot) {
  auto* base = static_cast<unsigned char*>(pages.data);
  const uint64_t index = static_cast<uint64_t>(page) * pages.page_stride;
  CachedRow row;
  if (pages.type == Type::kF8E4M3) {
    base += index;
    const uint32_t rope_bytes = rope_dim_of(pages, rank) * 2;
    row.latent = base + uint64_t{slot} * rank;
    row.rope = base + uint64_t{kPageTokens} * rank + uint64_t{slot} * rope_bytes;
    auto* scales =
        reinterpret_cast<float*>(base + uint64_t{kPageTokens} * (rank + uint64_t{rope_bytes}));
    row.scales = scales + uint64_t{slot} * ((rank + kBlock - 1) / kBlock);
    return row;
  }
  const uint32_t element = pages.type == Type::kF32 ? 4 : 2;
  row.latent = base + (index + uint64_t{slot} * pages.width) * element;
  row.rope = row.latent + uint64_t{rank} * element;
  return row;
}

// The row of a sequence's token. `page_numbers`: the page table of the sequence.
__device__ __forceinline__ CachedRow cached_row(const Pages& pages, uint32_t rank,
                                                const int32_t* page_numbers, uint32_t position) {
  return cached_row(pages, rank, page_numbers[position / kPageTokens], position % kPageTokens);
}

// Element `index` of [latent ; rope].
__device__ __forceinline__ float cached_value(const Pages& pages, const CachedRow& row,
                                              uint32_t rank, uint32_t index) {
  if (index >= rank) return load_float(row.rope, rope_type(pages), index - rank);
  const float value = load_float(row.latent, pages.type, index);
  return row.scales == nullptr ? value : value * row.scales[index / kBlock];
}

}  // namespace dsv3::kernels
