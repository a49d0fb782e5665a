// Pieces of a tensor-core product: 128 columns of some rows in shared memory, the fragments that a
// lane takes out of them, and the sum of 128 products.
//
// A fragment is one step of 32 columns: lane (g, q) takes columns 8q .. 8q+7 of row g in one
// access. Which of the 32 columns meet in which multiplication is therefore not their natural
// order; it is the same for x and weight and for every tile shape, and that is all a sum needs.
#pragma once

#include "kernels/common/async_copy.h"
#include "kernels/common/eight.h"
#include "kernels/common/mma.h"
#include "kernels/common/warp.h"
#include "kernels/linear_job.h"

namespace dsv3::kernels {

inline constexpr uint32_t kSteps = kBlock / 32;  // of a block

template <Product kProduct>
struct ProductBytes {  // of one element
  static constexpr uint32_t kWeight = kProduct == Product::kBf16 ? 2 : 1;
  static constexpr uint32_t kX = kProduct == Product::kCodes ? 1 : 2;
};

struct alignas(8) [[gnu::may_alias]] EightBytes {
  uint32_t word[2];
};

// Place of 16-byte piece `piece` of a row of 128 elements. Pieces of neighbouring rows are swapped
// so that the lanes that shared memory serves together hit different banks: rows of 256 bytes are
// read 16 bytes a lane (two rows at once), rows of 128 bytes 8 bytes a lane (four rows).
template <uint32_t kBytes>
__device__ __forceinline__ uint32_t piece_offset(uint32_t row, uint32_t piece) {
  const uint32_t swap = kBytes == 2 ? (row & 1u) << 2 : (row & 3u) << 1;
  return row * kBlock * kBytes + (piece ^ swap) * 16;
}

// Copies columns col .. col+127 of kRows rows into a tile, zeros past `cols`. row_at(r) is the
// address of a row's first element, or null for a row whose results nobody wants: what stands in
// its place in the tile may be anything. Shared by kThreads threads.
template <uint32_t kBytes, uint32_t kRows, uint32_t kThreads, typename RowAt>
__device__ __forceinline__ void copy_block(uint8_t* tile, const RowAt& row_at, uint32_t col,
                                           uint32_t cols, uint32_t thread) {
  constexpr uint32_t kPieces = kBlock * kBytes / 16;
  static_assert(kRows * kPieces % kThreads == 0 || kRows * kPieces < kThreads);
  for (uint32_t i = thread; i < kRows * kPieces; i += kThreads) {
    const uint32_t row = i / kPieces;
    const uint32_t piece = i % kPieces;
    const uint8_t* from = row_at(row);
    if (from == nullptr) continue;
    const uint32_t first = col + piece * (16 / kBytes);
    async_copy16(tile + piece_offset<kBytes>(row, piece), from + uint64_t{first} * kBytes,
                 first < cols);
  }
}

// Sets the last block's columns from `cols` on to zero in a copied tile of BF16: a row's last 16
// bytes may hold what lies past it.
template <uint32_t kRows, uint32_t kThreads>
__device__ __forceinline__ void clear_past(uint8_t* tile, uint32_t cols, uint32_t thread) {
  const uint32_t begin = cols % kBlock;
  for (uint32_t row = thread; row < kRows; row += kThreads) {
    for (uint32_t col = begin; col % 8 != 0; ++col) {
      *reinterpret_cast<uint16_t*>(tile + piece_offset<2>(row, col / 8) + col % 8 * 2) = 0;
    }
  }
}

// Four e4m3 codes to two words of two BF16 each. The code's bits, moved under a float's exponent,
// make value * 2^-120, subnormals included; exact, but that NaN becomes 480 (see NanRows).
__device__ __forceinline__ void decode_four(uint32_t codes, uint32_t (&out)[2]) {
  uint32_t bits[4];
#pragma unroll
  for (uint32_t i = 0; i < 4; ++i) {
    const auto top = static_cast<int32_t>(codes << (24 - 8 * i));
    const auto moved = static_cast<uint32_t>(top >> 4) & 0x87f00000u;
    bits[i] = __float_as_uint(__uint_as_float(moved) * 0x1p120f);
  }
#pragma unroll
  for (uint32_t i = 0; i < 2; ++i) out[i] = (bits[2 * i + 1] & 0xffff0000u) | bits[2 * i] >> 16;
}

// Which weight rows of a warp's fragments had a NaN among their codes: bit 7 of any byte. Looked at
// once, after the sums.
template <uint32_t kOuts>
struct NanRows {
  uint32_t low[kOuts] = {};
  uint32_t high[kOuts] = {};

  static __device__ __forceinline__ uint32_t look(uint32_t codes) {
    return (codes & 0x7f7f7f7fu) + 0x01010101u;
  }
};

// Elements 32 * step + 8q .. + 7 of a row of a tile: four words of BF16, or two of codes.
__device__ __forceinline__ void load_bf16(const uint8_t* tile, uint32_t row, uint32_t step,
                                          uint32_t (&out)[4]) {
  const uint32_t q = lane_index() % 4;
  const auto piece =
      *reinterpret_cast<const SixteenBytes*>(tile + piece_offset<2>(row, 4 * step + q));
  for (uint32_t i = 0; i < 4; ++i) out[i] = piece.word[i];
}
__device__ __forceinline__ void load_codes(const uint8_t* tile, uint32_t row, uint32_t step,
                                           uint32_t (&out)[2]) {
  const uint32_t q = lane_index() % 4;
  const uint32_t offset = piece_offset<1>(row, 2 * step + q / 2) + q % 2 * 8;
  const auto piece = *reinterpret_cast<const EightBytes*>(tile + offset);
  for (uint32_t i = 0; i < 2; ++i) out[i] = piece.word[i];
}
__device__ __forceinline__ void load_decoded(const uint8_t* tile, uint32_t row, uint32_t step,
                                             uint32_t (&out)[4], uint32_t& nans) {
  uint32_t codes[2];
  load_codes(tile, row, step, codes);
#pragma unroll
  for (uint32_t i = 0; i < 2; ++i) {
    uint32_t two[2];
    decode_four(codes[i], two);
    nans |= NanRows<1>::look(codes[i]);
    out[2 * i] = two[0];
    out[2 * i + 1] = two[1];
  }
}

// The sums of one warp: 16 * kOuts weight rows by 8 * kRows rows of x, mma's layout in each.
template <uint32_t kOuts, uint32_t kRows>
struct WarpSums {
  float at[kOuts][kRows][4];

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (auto& outs : at) {
#pragma unroll
      for (auto& rows : outs) {
#pragma unroll
        for (float& value : rows) value = 0.0f;
      }
    }
  }
  __device__ __forceinline__ void add(const WarpSums& other) {
#pragma unroll
    for (uint32_t o = 0; o < kOuts; ++o) {
#pragma unroll
      for (uint32_t r = 0; r < kRows; ++r) {
#pragma unroll
        for (uint32_t i = 0; i < 4; ++i) at[o][r][i] += other.at[o][r][i];
      }
    }
  }
};

// A NaN code makes a NaN of every result of its row. All lanes of the warp.
template <uint32_t kOuts, uint32_t kRows>
__device__ __forceinline__ void apply_nans(const NanRows<kOuts>& nans,
                                           WarpSums<kOuts, kRows>& sums) {
#pragma unroll
  for (uint32_t o = 0; o < kOuts; ++o) {
    uint32_t low = nans.low[o];
    uint32_t high = nans.high[o];
#pragma unroll
    for (int distance = 1; distance < 4; distance *= 2) {  // over the lanes of a row
      low |= __shfl_xor_sync(kAllLanes, low, distance);
      high |= __shfl_xor_sync(kAllLanes, high, distance);
    }
#pragma unroll
    for (uint32_t r = 0; r < kRows; ++r) {
#pragma unroll
      for (uint32_t i = 0; i < 4; ++i) {
        const uint32_t found = (i < 2 ? low : high) & 0x80808080u;
        if (found != 0) sums.at[o][r][i] = __uint_as_float(0x7fc00000u);
      }
    }
  }
}

// sums += the products of one block: weight rows from `out` on, x rows from `row` on of two tiles.
template <Product kProduct, uint32_t kOuts, uint32_t kRows>
__device__ __forceinline__ void multiply_block(const uint8_t* weights, uint32_t out,
                                               const uint8_t* x, uint32_t row,
                                               WarpSums<kOuts, kRows>& sums, NanRows<kOuts>& nans) {
  const uint32_t g = lane_index() / 4;
#pragma unroll
  for (uint32_t step = 0; step < kSteps; ++step) {
    uint32_t b[kRows][4];
#pragma unroll
    for (uint32_t r = 0; r < kRows; ++r) load_bf16(x, row + 8 * r + g, step, b[r]);
#pragma unroll
    for (uint32_t o = 0; o < kOuts; ++o) {
      uint32_t low[4];
      uint32_t high[4];
      if constexpr (kProduct == Product::kF8) {
        load_decoded(weights, out + 16 * o + g, step, low, nans.low[o]);
        load_decoded(weights, out + 16 * o + g + 8, step, high, nans.high[o]);
      } else {
        load_bf16(weights, out + 16 * o + g, step, low);
        load_bf16(weights, out + 16 * o + g + 8, step, high);
      }
#pragma unroll
      for (uint32_t half = 0; half < 4; half += 2) {
        const uint32_t a[4] = {low[half], high[half], low[half + 1], high[half + 1]};
#pragma unroll
        for (uint32_t r = 0; r < kRows; ++r) {
          const uint32_t two[2] = {b[r][half], b[r][half + 1]};
          mma_bf16(sums.at[o][r], a, two);
        }
      }
    }
  }
}

// The same for codes by codes.
template <uint32_t kOuts, uint32_t kRows>
__device__ __forceinline__ void multiply_codes(const uint8_t* weights, uint32_t out,
                                               const uint8_t* x, uint32_t row,
                                               WarpSums<kOuts, kRows>& sums) {
  const uint32_t g = lane_index() / 4;
#pragma unroll
  for (uint32_t step = 0; step < kSteps; ++step) {
    uint32_t b[kRows][2];
#pragma unroll
    for (uint32_t r = 0; r < kRows; ++r) load_codes(x, row + 8 * r + g, step, b[r]);
#pragma unroll
    for (uint32_t o = 0; o < kOuts; ++o) {
      uint32_t low[2];
      uint32_t high[2];
      load_codes(weights, out + 16 * o + g, step, low);
      load_codes(weights, out + 16 * o + g + 8, step, high);
      const uint32_t a[4] = {low[0], high[0], low[1], high[1]};
#pragma unroll
      for (uint32_t r = 0; r < kRows; ++r) mma_e4m3(sums.at[o][r], a, b[r]);
    }
  }
}

// The weight rows of a tile. One weight: rows first, first + 1, …; a pair: eight of gate and eight
// of up by turns, so that a lane's two rows of a fragment are the gate and the up of one result.
struct TileWeights {
  const uint8_t* gate;
  const uint8_t* up;
  uint64_t gate_row_bytes;
  uint64_t up_row_bytes;
  uint32_t first;
  uint32_t outs;  // columns of y
  bool is_pair;

  __device__ __forceinline__ const uint8_t* row_at(uint32_t row) const {
    if (!is_pair) {
      return first + row < outs ? gate + (first + row) * gate_row_bytes : nullptr;
    }
    const uint32_t out = first + row / 16 * 8 + row % 8;
    if (out >= outs) return nullptr;
    return row % 16 < 8 ? gate + out * gate_row_bytes : up + out * up_row_bytes;
  }
};

template <Product kProduct>
__device__ __forceinline__ TileWeights tile_weights(const LinearParams& params,
                                                    const LinearJob& job, uint32_t tile_outs) {
  constexpr uint32_t kBytes = ProductBytes<kProduct>::kWeight;
  return {static_cast<const uint8_t*>(job.gate.data),
          static_cast<const uint8_t*>(job.up.data),
          job.gate.stride * kBytes,
          job.up.stride * kBytes,
          blockIdx.x * (job.is_pair ? tile_outs / 2 : tile_outs),
          params.y.cols,
          job.is_pair};
}

// The scales of the two halves of a fragment of weight rows, per block of columns.
struct ScaleRows {
  const float* low;
  const float* high;
};
__device__ __forceinline__ ScaleRows scale_rows(const LinearJob& job, const TileWeights& rows,
                                                uint32_t tile_row) {
  const uint32_t wanted = rows.first + (job.is_pair ? tile_row / 2 : tile_row);
  const uint32_t block = (wanted < rows.outs ? wanted : rows.outs - 1) / kBlock;
  const float* gate = job.gate.scales + block * job.gate.scale_stride;
  return {gate, job.is_pair ? job.up.scales + block * job.up.scale_stride : gate};
}

// sum += partial * scale, the one rounding of a block. x_scales: of this lane's two columns.
template <Product kProduct>
__device__ __forceinline__ void promote(float (&sum)[4], const float (&partial)[4], float low,
                                        float high, const float (&x_scales)[2]) {
#pragma unroll
  for (uint32_t i = 0; i < 4; ++i) {
    if constexpr (kProduct == Product::kBf16) {
      sum[i] += partial[i];
    } else if constexpr (kProduct == Product::kF8) {
      sum[i] = fmaf(partial[i], i < 2 ? low : high, sum[i]);
    } else {
      sum[i] = fmaf(partial[i], (i < 2 ? low : high) * x_scales[i % 2], sum[i]);
    }
  }
}

// Where a tile's rows of x begin, and their scales; null past the job's last row. In shared memory.
template <uint32_t kRows>
struct TileRows {
  const uint8_t* x[kRows];
  const float* scales[kRows];
  uint32_t y[kRows];
};

// Filled by the first kRows threads; the caller waits for the block.
template <Product kProduct, uint32_t kRows>
__device__ __forceinline__ void find_rows(const LinearParams& params, const LinearJob& job,
                                          TileRows<kRows>& rows) {
  const uint32_t i = threadIdx.x;
  if (i >= kRows) return;
  rows.x[i] = nullptr;
  rows.scales[i] = nullptr;
  if (i >= job.count) return;
  rows.y[i] = job_row(job, i);
  const uint64_t x_row = rows.y[i] / params.experts.x_share;
  if constexpr (kProduct == Product::kCodes) {
    rows.x[i] = params.x_codes.codes + x_row * params.x_codes.stride;
    rows.scales[i] = params.x_codes.scales + x_row * params.x_codes.scale_stride;
  } else {
    rows.x[i] = static_cast<const uint8_t*>(params.x.data) + x_row * params.x.stride * 2;
  }
}

// Blocks of K in a run (kLinearRuns).
__device__ __forceinline__ uint32_t column_blocks(uint32_t cols) {
  return (cols + kBlock - 1) / kBlock;
}
__device__ __forceinline__ uint32_t run_blocks(uint32_t blocks) {
  return (blocks + kLinearRuns - 1) / kLinearRuns;
}

}  // namespace dsv3::kernels
