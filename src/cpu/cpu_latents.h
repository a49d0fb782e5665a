// How do cached latents get into a page, and out of it as rows? Pages of the activation dtype are
// read in place; F8 pages (design §5) are decoded, exactly, to BF16.
#pragma once

#include <cstdint>

#include "cpu/cpu_panel.h"

namespace dsv3 {

// Stores values [Rkv + dr] as row `slot` of a page, rounded to what the pages hold. Overwrites the
// values.
void store_latent(const Panel& panel, const LatentPages& pages, const MlaShape& shape, int32_t page,
                  uint32_t slot, float* values);

// The first `keys` rows of a page. [keys, Rkv + dr]
struct LatentRows {
  const std::byte* data = nullptr;
  DType dtype = DType::kBF16;  // BF16 or F32
  uint32_t stride = 0;         // elements

  uint64_t element_bytes() const { return dtype == DType::kF32 ? 4 : 2; }
  const std::byte* at(uint64_t row, uint32_t col = 0) const {
    return data + (row * stride + col) * element_bytes();
  }
};
// Rows of an F8 page stand in the worker's scratch, until the next call.
LatentRows latent_rows(const Panel& panel, const LatentPages& pages, const MlaShape& shape,
                       int32_t page, uint32_t keys);

}  // namespace dsv3
