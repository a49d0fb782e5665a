#include "model/latent_cache.h"

#include "base/checked.h"

namespace dsv3 {
namespace {

// In elements, or bytes of F8E4M3 pages, whose parts differ in type.
uint64_t page_stride(const ModelConfig& config, DType dtype) {
  if (dtype == DType::kF8E4M3) return latent_page_bytes_f8(config.mla);
  return uint64_t{kPageTokens} * (config.mla.latent_rank + config.mla.rope_dim);
}

uint64_t bytes_per_layer(const ModelConfig& config, DType dtype, uint32_t page_count) {
  const uint64_t page_bytes = page_stride(config, dtype) * dtype_bits(dtype) / 8;
  return mul_or_fail<uint64_t>(page_bytes, page_count, "bytes of the latent cache");
}

}  // namespace

LatentCache::LatentCache(Device& device, const ModelConfig& config, DType dtype,
                         uint32_t page_count)
    : block_(device.allocate(bytes(config, dtype, page_count), "latent cache")),
      layer_bytes_(bytes_per_layer(config, dtype, page_count)) {
  first_ = {.data = block_.data(),
            .dtype = dtype,
            .page_count = page_count,
            .width = config.mla.latent_rank + config.mla.rope_dim,
            .page_stride = page_stride(config, dtype)};
}

uint64_t LatentCache::bytes(const ModelConfig& config, DType dtype, uint32_t page_count) {
  return mul_or_fail<uint64_t>(bytes_per_layer(config, dtype, page_count), config.layers,
                               "bytes of the latent cache");
}

LatentPages LatentCache::layer(uint32_t index) const {
  LatentPages pages = first_;
  pages.data = static_cast<std::byte*>(first_.data) + index * layer_bytes_;
  return pages;
}

}  // namespace dsv3
