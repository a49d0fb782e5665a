#include "cpu/cpu_latents.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/checked.h"

namespace dsv3 {
namespace {

// One row of an F8 page: codes [Rkv], rope [dr] as BF16 bits, scales [ceil(Rkv/128)].
struct F8Row {
  uint8_t* codes;
  std::byte* rope;
  std::byte* scales;
};

F8Row f8_row(const LatentPages& pages, const MlaShape& shape, int32_t page, uint32_t slot) {
  const uint64_t rank = shape.latent_rank;
  const uint64_t rope_bytes = uint64_t{shape.rope_dim} * sizeof(uint16_t);
  const uint64_t scale_bytes = ceil_div<uint64_t>(rank, kBlock) * sizeof(float);
  auto* begin =
      static_cast<std::byte*>(pages.data) + static_cast<uint64_t>(page) * pages.page_stride;
  return {.codes = reinterpret_cast<uint8_t*>(begin) + slot * rank,
          .rope = begin + kPageTokens * rank + slot * rope_bytes,
          .scales = begin + kPageTokens * (rank + rope_bytes) + slot * scale_bytes};
}

std::byte* plain_row(const LatentPages& pages, int32_t page, uint32_t slot) {
  const uint64_t offset =
      static_cast<uint64_t>(page) * pages.page_stride + uint64_t{slot} * pages.width;
  return static_cast<std::byte*>(pages.data) + offset * (dtype_bits(pages.dtype) / 8);
}

// The power of two at or above activation_scale, from the exponent's bits (trap T18): a mantissa
// that is not zero takes the next power.
float latent_scale(float max_abs) {
  const auto bits = std::bit_cast<uint32_t>(activation_scale(max_abs));
  const uint32_t exponent = (bits >> 23) + ((bits & 0x7fffffu) != 0 ? 1u : 0u);
  return std::bit_cast<float>(std::clamp(exponent, 1u, 254u) << 23);
}

// The code of `value`, which is an e4m3 number; `sign` also tells the two zeros apart.
uint8_t e4m3_code(float value, bool sign) {
  const uint32_t bits = std::bit_cast<uint32_t>(value) & 0x7fffffffu;
  uint32_t code = (bits >> 20) - ((127u - 7u) << 3);
  if (bits < std::bit_cast<uint32_t>(0x1p-6f)) {
    code = static_cast<uint32_t>(std::fabs(value) * 0x1p9f);  // subnormal: steps of 2^-9
  }
  if (bits > 0x7f800000u) code = 0x7fu;
  return static_cast<uint8_t>(code | (sign ? 0x80u : 0u));
}

void store_f8(const Panel& panel, const F8Row& row, const MlaShape& shape, float* values) {
  const uint32_t rank = shape.latent_rank;
  panel.store(values + rank, DType::kBF16, shape.rope_dim, row.rope);
  panel.round(values, DType::kBF16, rank);
  for (uint32_t begin = 0; begin < rank; begin += kBlock) {
    const uint32_t count = std::min(kBlock, rank - begin);
    const float scale = latent_scale(panel.kernels.max_abs(values + begin, count));
    float block[kBlock];
    panel.kernels.to_e4m3(values + begin, count, scale, block);
    for (uint32_t i = 0; i < count; ++i) {
      row.codes[begin + i] = e4m3_code(block[i], std::signbit(values[begin + i]));
    }
    std::memcpy(row.scales + begin / kBlock * sizeof(float), &scale, sizeof(float));
  }
}

// [Rkv + dr]
void load_f8(const Panel& panel, const F8Row& row, const MlaShape& shape, uint16_t* out) {
  const uint32_t rank = shape.latent_rank;
  for (uint32_t begin = 0; begin < rank; begin += kBlock) {
    const uint32_t count = std::min(kBlock, rank - begin);
    float scale = 0.0f;
    std::memcpy(&scale, row.scales + begin / kBlock * sizeof(float), sizeof(float));
    float block[kBlock];
    panel.to_f32(row.codes + begin, DType::kF8E4M3, count, block);
    panel.kernels.scale(block, count, scale);
    panel.kernels.to_bf16(block, count, out + begin);
  }
  std::memcpy(out + rank, row.rope, shape.rope_dim * sizeof(uint16_t));
}

}  // namespace

void store_latent(const Panel& panel, const LatentPages& pages, const MlaShape& shape, int32_t page,
                  uint32_t slot, float* values) {
  if (pages.dtype == DType::kF8E4M3) {
    store_f8(panel, f8_row(pages, shape, page, slot), shape, values);
  } else {
    panel.store(values, pages.dtype, pages.width, plain_row(pages, page, slot));
  }
}

LatentRows latent_rows(const Panel& panel, const LatentPages& pages, const MlaShape& shape,
                       int32_t page, uint32_t keys) {
  if (pages.dtype != DType::kF8E4M3) {
    return {.data = plain_row(pages, page, 0), .dtype = pages.dtype, .stride = pages.width};
  }
  uint16_t* latents = panel.scratch.latents;
  for (uint32_t key = 0; key < keys; ++key) {
    load_f8(panel, f8_row(pages, shape, page, key), shape, latents + uint64_t{key} * pages.width);
  }
  return {.data = reinterpret_cast<const std::byte*>(latents),
          .dtype = DType::kBF16,
          .stride = pages.width};
}

}  // namespace dsv3
