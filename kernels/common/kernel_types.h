// What kernels are told: element types and views. Plain C++, shared with src/cuda. The structs that
// mirror ones of src/ops/args.h have the same layout; src/cuda/cuda_layouts.cpp asserts it.
#pragma once

#include <cstdint>

namespace dsv3::kernels {

// Numbered as dsv3::DType.
enum class Type : uint8_t { kF8E4M3 = 4, kF16 = 10, kBF16 = 11, kF32 = 14 };

inline constexpr uint32_t kPageTokens = 64;  // tokens per page of the latent cache
inline constexpr uint32_t kBlock = 128;      // edge of an FP8 scale block (spec §4.3)

// `rows` rows of `cols` elements, `stride` elements apart; rows are 16-byte aligned. BF16 or F32.
struct Matrix {
  void* data = nullptr;
  Type type = Type::kBF16;
  uint32_t rows = 0;
  uint32_t cols = 0;
  uint64_t stride = 0;
};

struct ConstMatrix {
  const void* data = nullptr;
  Type type = Type::kBF16;
  uint32_t rows = 0;
  uint32_t cols = 0;
  uint64_t stride = 0;
};

// A weight [rows, cols] in device memory: rows 16-byte aligned, zeros from cols to stride. Mirrors
// dsv3::Weight.
struct Weights {
  const void* data = nullptr;
  Type type = Type::kBF16;  // BF16, F32, F16, F8E4M3
  uint32_t rows = 0;
  uint32_t cols = 0;
  uint64_t stride = 0;
  const float* scales = nullptr;  // [ceil(rows/128), ceil(cols/128)], F8E4M3 only
  uint64_t scale_stride = 0;
};

// Mirrors dsv3::ExpertWeights.
struct ExpertMatrices {
  Weights gate;  // [M, H]
  Weights up;    // [M, H]
  Weights down;  // [H, M]
};

// Rows quantised 1x128 (spec §4.4): e4m3 codes [rows, cols], zeros up to stride (a multiple of
// 128), and scales [rows, stride / 128] scale_stride apart.
struct Codes {
  uint8_t* codes = nullptr;
  float* scales = nullptr;
  uint64_t stride = 0;
  uint64_t scale_stride = 0;
};

// Mirrors dsv3::BatchSpan. form: 0 unabsorbed, 1 absorbed.
struct Span {
  uint32_t row_begin = 0;
  uint32_t row_count = 0;
  uint32_t position_begin = 0;
  uint8_t form = 0;
  const int32_t* pages = nullptr;
};

// One layer of the latent cache; mirrors dsv3::LatentPages. BF16 or F32: [64][width] per page.
// F8E4M3, sizes in bytes: [64][Rkv] e4m3 | [64][dr] BF16 | [64][ceil(Rkv/128)] F32 powers of two.
struct Pages {
  void* data = nullptr;
  Type type = Type::kBF16;
  uint32_t page_count = 0;
  uint32_t width = 0;        // Rkv + dr
  uint64_t page_stride = 0;  // elements (bytes when F8E4M3) between pages
};

// Mirrors dsv3::MlaShape.
struct MlaDims {
  uint32_t heads = 0;        // N
  uint32_t nope_dim = 0;     // dn
  uint32_t rope_dim = 0;     // dr, even
  uint32_t value_dim = 0;    // dv
  uint32_t latent_rank = 0;  // Rkv
};

}  // namespace dsv3::kernels
