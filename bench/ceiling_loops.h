// Which loops find out what a processor can do at most? One table per instruction set, as in
// src/cpu: reading memory, and products of blocks that stay in registers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/cpu_ops.h"

namespace dsv3::bench {

inline constexpr uint32_t kReadWays = 4;
inline constexpr uint64_t kReadGrain = 64u << 10;         // parts are multiples of it
inline constexpr uint64_t kTileOperandBytes = 20u << 10;  // fits every first-level cache

// Reads [data, data + bytes) once; the result depends on all of it. `data` is 64-byte aligned,
// `bytes` a multiple of kReadGrain.
using ReadLoop = uint64_t (*)(const std::byte* data, uint64_t bytes);

// Multiplies `rounds` times the same two blocks of `operands` (kTileOperandBytes, all finite) with
// sums in registers, which go to `sink` [4096 bytes] in the end. Returns the operations done:
// additions and multiplications.
using TileLoop = double (*)(const std::byte* operands, uint32_t rounds, std::byte* sink);

struct CeilingLoops {
  // Ways to read, of which the fastest counts: one or four streams a thread, each without and with
  // prefetch. Null: not there.
  ReadLoop read[kReadWays] = {};
  TileLoop bf16 = nullptr;
  TileLoop f32 = nullptr;
  TileLoop int8 = nullptr;
  const char* bf16_how = "";
  const char* int8_how = "";
};

// The loops of a level that this processor has. int8 takes VNNI where there is any.
CeilingLoops ceiling_loops(CpuLevel level);

CeilingLoops ceiling_loops_scalar();
CeilingLoops ceiling_loops_avx2();
CeilingLoops ceiling_loops_avx512();

}  // namespace dsv3::bench
