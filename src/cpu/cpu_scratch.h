// Which memory do the CPU's operations need besides their arguments? Taken once, by reserve().
#pragma once

#include <cstdint>
#include <vector>

#include "base/allocator.h"
#include "ops/ops.h"

namespace dsv3 {

inline constexpr uint32_t kRowBlock = 32;     // rows of x in one panel
inline constexpr uint32_t kOutBlock = 64;     // outputs in one panel
inline constexpr uint32_t kDecodeRows = 8;    // FP8 weight rows decoded at a time
inline constexpr uint32_t kQueryBlock = 256;  // query rows whose softmax states a worker holds
inline constexpr uint32_t kHeadGroupMax = 8;  // heads that share one walk over the pages (absorbed)

// Private to one worker while it runs a task.
struct WorkerScratch {
  float* x_f32 = nullptr;       // [kRowBlock, width]
  float* x_scales = nullptr;    // [kRowBlock, ceil(width/128)], profile 1x128
  uint16_t* decoded = nullptr;  // [kDecodeRows, width]
  float* row_a = nullptr;       // [width]
  float* row_b = nullptr;       // [width]

  // Attention
  uint16_t* latents = nullptr;  // [64, Rkv+dr] of one page, BF16: F8 pages decoded
  // Attention, unabsorbed
  std::byte* keys = nullptr;     // [64, dn+dr], act
  float* values = nullptr;       // [64, dv], rounded to act
  float* state_max = nullptr;    // [kQueryBlock]
  float* state_sum = nullptr;    // [kQueryBlock]
  float* state_value = nullptr;  // [kQueryBlock, dv]
  float* scores = nullptr;       // [kRowBlock, 64]
  // Attention, absorbed
  float* query = nullptr;       // [kHeadGroupMax, Rkv+dr]
  float* latent_sum = nullptr;  // [kHeadGroupMax, Rkv]

  // Sampling
  float* logits = nullptr;     // [V]
  uint32_t* order = nullptr;   // [V]
  uint32_t* counts = nullptr;  // [V], all zero between rows
};

struct CpuScratch {
  OpsLimits limits;
  uint32_t width = 0;  // the widest row any operation works on

  float* norm_weight = nullptr;       // [width]
  float* router_logits = nullptr;     // [rows_max, E]
  uint32_t* expert_begin = nullptr;   // [E + 1]
  uint32_t* expert_active = nullptr;  // [E]
  uint32_t* expert_rows = nullptr;    // [expert_rows_max]
  uint32_t* span_tasks = nullptr;     // [rows_max + 1]
  std::vector<WorkerScratch> workers;
  Block block;
};

uint64_t cpu_scratch_bytes(const OpsLimits& limits, uint32_t workers);
CpuScratch make_cpu_scratch(Allocator& allocator, const OpsLimits& limits, uint32_t workers);

}  // namespace dsv3
