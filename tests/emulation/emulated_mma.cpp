// Tensor-core products. The last lane to arrive decodes the fragments of all 32 into plain matrices
// and multiplies them: FP32, k ascending from the accumulator, so no element depends on another.
#include "emulation/emulated_mma.h"

#include <array>
#include <bit>

#include "emulation/emulated_block.h"

namespace dsv3::kernels {
namespace {

constexpr uint32_t kRows = 16;
constexpr uint32_t kCols = 8;
constexpr uint32_t kDepthMax = 32;

struct MmaCall {
  float* d;
  const uint32_t* a;
  const uint32_t* b;
};

using Columns [[gnu::vector_size(kCols * sizeof(float))]] = float;

struct Tile {
  float a[kDepthMax][kRows];
  Columns b[kDepthMax];
  Columns d[kRows];
};

constexpr float e4m3_value(uint32_t byte) {
  const uint32_t exponent = byte >> 3 & 15u;
  const uint32_t fraction = byte & 7u;
  float size = exponent == 0 ? static_cast<float>(fraction) * 0x1p-9f
                             : std::bit_cast<float>((exponent + 120u) << 23 | fraction << 20);
  if (exponent == 15 && fraction == 7) size = std::bit_cast<float>(0x7fc00000u);
  return (byte & 0x80u) != 0 ? -size : size;
}

constexpr std::array<float, 256> kE4m3Values = [] {
  std::array<float, 256> values = {};
  for (uint32_t byte = 0; byte < 256; ++byte) values[byte] = e4m3_value(byte);
  return values;
}();

// The element of a 32-bit register with the `index`th lowest k.
template <uint32_t kPerRegister>
float element(uint32_t bits, uint32_t index) {
  if constexpr (kPerRegister == 2) {
    return std::bit_cast<float>(index == 0 ? bits << 16 : bits & 0xffff0000u);
  } else {
    return kE4m3Values[bits >> (8 * index) & 0xffu];
  }
}

template <uint32_t kPerRegister>
void decode(const emulated::WarpLanes& lanes, Tile& tile) {
  for (uint32_t lane = 0; lane < 32; ++lane) {
    const auto& call = *static_cast<const MmaCall*>(lanes.calls[lane]);
    const uint32_t group = lane / 4;
    const uint32_t quad = lane % 4;
    for (uint32_t half = 0; half < 2; ++half) {
      for (uint32_t i = 0; i < kPerRegister; ++i) {
        const uint32_t k = (half * 4 + quad) * kPerRegister + i;
        tile.a[k][group] = element<kPerRegister>(call.a[2 * half], i);
        tile.a[k][group + 8] = element<kPerRegister>(call.a[2 * half + 1], i);
        tile.b[k][group] = element<kPerRegister>(call.b[half], i);
      }
    }
    for (uint32_t i = 0; i < 4; ++i) tile.d[group + i / 2 * 8][2 * quad + i % 2] = call.d[i];
  }
}

// Four rows at a time, all columns of a row in one vector.
template <uint32_t kDepth>
void multiply(Tile& tile) {
  for (uint32_t row = 0; row < kRows; row += 4) {
    Columns sum0 = tile.d[row];
    Columns sum1 = tile.d[row + 1];
    Columns sum2 = tile.d[row + 2];
    Columns sum3 = tile.d[row + 3];
    for (uint32_t k = 0; k < kDepth; ++k) {
      const float* const a = &tile.a[k][row];
      sum0 += a[0] * tile.b[k];
      sum1 += a[1] * tile.b[k];
      sum2 += a[2] * tile.b[k];
      sum3 += a[3] * tile.b[k];
    }
    tile.d[row] = sum0;
    tile.d[row + 1] = sum1;
    tile.d[row + 2] = sum2;
    tile.d[row + 3] = sum3;
  }
}

template <uint32_t kPerRegister>
void finish(const emulated::WarpLanes& lanes) {
  Tile tile;
  decode<kPerRegister>(lanes, tile);
  multiply<kPerRegister * 8>(tile);
  for (uint32_t lane = 0; lane < 32; ++lane) {
    float* const d = static_cast<const MmaCall*>(lanes.calls[lane])->d;
    for (uint32_t i = 0; i < 4; ++i) d[i] = tile.d[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
  }
}

constexpr emulated::WarpOperation kBf16 = {"mma_bf16", finish<2>, false};
constexpr emulated::WarpOperation kE4m3 = {"mma_e4m3", finish<4>, false};

}  // namespace

void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  MmaCall call = {d, a, b};
  emulated::warp_meet(0xffffffffu, kBf16, {.call = &call});
}

void mma_e4m3(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  if (emulated::device_capability() < 89) {  // as on a GPU that has no such instruction
    for (float& value : d) value = std::bit_cast<float>(0x7fc00000u);
    return;
  }
  MmaCall call = {d, a, b};
  emulated::warp_meet(0xffffffffu, kE4m3, {.call = &call});
}

}  // namespace dsv3::kernels
