// The latent cache lies as design and ops say, in each of its formats, and a model takes no format
// that its activations do not go with. Method: sizes of the real models, pointers, refused loads.
#include "model/latent_cache.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "base/error.h"
#include "model/model_fixture.h"

namespace dsv3::testing {
namespace {

ModelConfig shape(uint32_t latent_rank, uint32_t rope_dim, uint32_t layers) {
  ModelConfig config;
  config.mla.latent_rank = latent_rank;
  config.mla.rope_dim = rope_dim;
  config.layers = layers;
  return config;
}

TEST(LatentCache, BytesOfEachFormat) {
  const ModelConfig deepseek = shape(512, 64, 61);
  EXPECT_EQ(LatentCache::bytes(deepseek, DType::kBF16, 1), 61u * 64 * 576 * 2);
  EXPECT_EQ(LatentCache::bytes(deepseek, DType::kF32, 3), 61u * 64 * 576 * 4 * 3);
  EXPECT_EQ(LatentCache::bytes(deepseek, DType::kF8E4M3, 1), 61u * 41'984);
  // A cut block still has a scale.
  EXPECT_EQ(LatentCache::bytes(shape(129, 6, 1), DType::kF8E4M3, 2), 2u * 64 * (129 + 12 + 8));
}

TEST(LatentCache, LayersLieBehindOneAnother) {
  Allocator allocator({}, 0);
  CpuDevice device(allocator);
  const ModelConfig config = shape(48, 8, 3);
  for (const DType dtype : {DType::kBF16, DType::kF32, DType::kF8E4M3}) {
    const LatentCache cache(device, config, dtype, 5);
    const auto* const first = static_cast<std::byte*>(cache.layer(0).data);
    const LatentPages last = cache.layer(2);
    EXPECT_EQ(static_cast<std::byte*>(last.data) - first,
              static_cast<int64_t>(LatentCache::bytes(config, dtype, 5) / 3 * 2));
    EXPECT_EQ(last.dtype, dtype);
    EXPECT_EQ(last.width, 56u);
    EXPECT_EQ(last.page_count, 5u);
    // Elements, but bytes of pages whose parts differ in type.
    EXPECT_EQ(last.page_stride, dtype == DType::kF8E4M3 ? 64u * (48 + 16 + 4) : 64u * 56);
  }
}

TEST(LatentCache, Fp8NeedsBf16Activations) {
  const auto open = [](const char* name, DType dtype) {
    const ModelFixture fixture(golden_dir() / name, {.cache_dtype = dtype});
  };
  EXPECT_NO_THROW(open("bf16_shards", DType::kBF16));
  EXPECT_NO_THROW(open("bf16_shards", DType::kF8E4M3));
  EXPECT_NO_THROW(open("groups_yarn", DType::kF32));
  for (const auto& [name, dtype] :
       {std::pair{"bf16_shards", DType::kF32}, std::pair{"groups_yarn", DType::kF8E4M3},
        std::pair{"groups_yarn", DType::kBF16}}) {
    try {
      open(name, dtype);
      ADD_FAILURE() << name << " took a cache of " << dtype_name(dtype);
    } catch (const Error& error) {
      EXPECT_EQ(error.status(), Status::kUnsupported);
      EXPECT_EQ(error.message().rfind("cache_dtype is " + std::string(dtype_name(dtype)), 0), 0u)
          << error.message();
    }
  }
}

}  // namespace
}  // namespace dsv3::testing
