// Scratch memory of CudaOps, taken once from the limits. Each op family carves its own part in its
// own file; parts are alive only within one op, so families share bytes where they can.
#pragma once

#include "base/allocator.h"
#include "kernels/experts.h"
#include "kernels/mla_decode.h"
#include "ops/ops.h"

namespace dsv3 {

// Rows quantised 1x128 on their way into a linear (cuda_linear.cpp). Only for that profile.
struct LinearScratch {
  uint8_t* codes = nullptr;  // [blocks * 128]
  float* scales = nullptr;   // [blocks]
  uint64_t blocks = 0;       // of 128 columns of a row
  static LinearScratch carve(Carver& carver, const OpsLimits& limits, ActivationQuant quant);
  // Rows of `cols` columns that fit; the view of that many.
  uint64_t rows_max(uint32_t cols) const;
  QuantRows rows(uint32_t cols) const;
};

// Rows of routed experts grouped by expert (cuda_experts.cpp).
struct ExpertScratch {
  uint32_t* order = nullptr;           // [expert_rows_max]
  kernels::ExpertJob* jobs = nullptr;  // [expert_rows_max]
  static ExpertScratch carve(Carver& carver, const OpsLimits& limits);
};

// The router's logits (cuda_route.cpp).
struct MoeScratch {
  float* logits = nullptr;  // [T, E]
  static MoeScratch carve(Carver& carver, const OpsLimits& limits);
};

inline constexpr uint32_t kExpandKeys = 512;  // keys expanded through kv_b at a time

// Attention (cuda_attention.cpp). The two forms take turns, so they share bytes.
struct AttentionScratch {
  // --- absorbed: D = kDecodeRows, S = D + extra_slots
  float* queries = nullptr;            // [D, N, Rkv+dr], or half as many bytes in BF16
  kernels::SplitPlan* plan = nullptr;  // [D]
  uint32_t* items = nullptr;           // [1]
  float* sums = nullptr;               // [S, N, Rkv]
  float* states = nullptr;             // [S, N, 2]
  uint32_t extra_slots = 0;
  // --- unabsorbed: C keys of a chunk
  uint32_t chunk_keys = 0;
  std::byte* latents = nullptr;   // [C, Rkv+dr] act, rows rounded up to 16 bytes
  std::byte* expanded = nullptr;  // [C, N*(dn+dv)] act, rows rounded up to 16 bytes
  float* carried = nullptr;       // [T, N, dv+2], rows rounded up to 4
  static AttentionScratch carve(Carver& carver, const OpsLimits& limits);
};

// Sampling (cuda_sample.cpp).
struct SampleScratch {
  float* adjusted = nullptr;   // [R, V] logits after penalties, bias and mask
  uint32_t* counts = nullptr;  // [R, V]
  static SampleScratch carve(Carver& carver, const OpsLimits& limits);
};

struct CudaScratch {
  Block memory;
  OpsLimits limits;
  LinearScratch linear;
  MoeScratch moe;
  ExpertScratch experts;
  AttentionScratch attention;
  SampleScratch sample;
};

}  // namespace dsv3
