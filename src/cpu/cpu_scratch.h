// Which memory do the CPU's operations need besides their arguments? Taken once, by reserve().
#pragma once

#include <cstdint>
#include <vector>

#include "base/allocator.h"
#include "cpu/cpu_units.h"
#include "ops/ops.h"

namespace dsv3 {

inline constexpr uint32_t kRowBlock = 32;      // rows of x in one panel that are converted first
inline constexpr uint32_t kPanelRows = 128;    // rows of x in one panel that are read in place
inline constexpr uint32_t kManyRows = 16;      // of x: from here on computing takes the time
inline constexpr uint32_t kOutBlock = 64;      // outputs in one panel
inline constexpr uint32_t kDecodeRows = 8;     // weight rows decoded or aligned at a time
inline constexpr uint32_t kLineElements = 32;  // BF16 elements of a cache line
inline constexpr uint32_t kQueryBlock = 512;   // query rows whose softmax states a worker holds
inline constexpr uint32_t kHeadGroupMax = 8;  // heads that share one walk over the pages (absorbed)
// Attention over BF16 operands (cpu_attend_*)
inline constexpr uint32_t kCachedRows = 32;  // absorbed rows in one round
// A row's keys are cut into parts of kSplitKeysMin, doubled while there are more than kSplitsFew,
// but not above kSplitKeysFew unless there are more than kSplitsMax.
inline constexpr uint32_t kSplitKeysMin = 128;
inline constexpr uint32_t kSplitsFew = 4;
inline constexpr uint32_t kSplitKeysFew = 1024;
inline constexpr uint32_t kSplitsMax = 16;
inline constexpr uint32_t kSplitSlots = kSplitsMax;  // results of parts, for each worker

// Private to one worker while it runs a task.
struct WorkerScratch {
  float* x_f32 = nullptr;       // [kRowBlock, width]
  float* x_scales = nullptr;    // [kRowBlock, ceil(width/128)], profile 1x128
  uint16_t* decoded = nullptr;  // [kDecodeRows, width], rows begin at cache lines
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

  // Attention over BF16 operands
  uint32_t* lanes = nullptr;         // [kQueryBlock / 16] blocks of dn+dr, or one of Rkv+dr: packed
  uint32_t* weight_lanes = nullptr;  // [dn/16 + dv/16] blocks of Rkv: packed
  uint32_t* weights = nullptr;       // [32, 16] pairs of probabilities
  float* factors = nullptr;          // [16]
  float* absorbed = nullptr;         // [16, Rkv]
  uint16_t* nopes = nullptr;         // [16, dn]

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
  UnitRange* units = nullptr;         // [workers]

  // cos and sin of each row's angles, kept from layer to layer: valid where the row's position is
  // the one they were made for.
  float* rope_angles = nullptr;        // [rows_max, dr]: cosines, then sines
  uint32_t* rope_positions = nullptr;  // [rows_max]
  float* rope_inv_freq = nullptr;      // [dr/2], of all of them
  float rope_magnitude = 0.0f;
  uint32_t rope_pairs = 0;  // 0: none made yet

  // Absorbed rows of a round
  uint32_t* cached_rows = nullptr;   // [rows_max], of the whole batch
  uint32_t* cached_units = nullptr;  // [kCachedRows + 1]
  uint16_t* queries = nullptr;       // [kCachedRows, N, Rkv+dr], BF16
  float* latent_means = nullptr;     // [kCachedRows, N, Rkv]
  float* split_sums = nullptr;       // [workers * kSplitSlots, 16, Rkv]
  float* split_states = nullptr;     // [workers * kSplitSlots, 2, 16]: maxima, sums
  std::vector<WorkerScratch> workers;
  Block block;
};

uint64_t cpu_scratch_bytes(const OpsLimits& limits, uint32_t workers);
CpuScratch make_cpu_scratch(Allocator& allocator, const OpsLimits& limits, uint32_t workers);

}  // namespace dsv3
