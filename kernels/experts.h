// Which rows does each expert multiply? Pairs (token, k) grouped by expert, in pieces small enough
// for one tile.
#pragma once

#include "kernels/common/kernel_types.h"
#include "kernels/common/launch.h"

namespace dsv3::kernels {

// Pairs order[first .. first + count) go to `expert`. No work when count is 0.
struct ExpertJob {
  uint32_t expert = 0;
  uint32_t first = 0;
  uint32_t count = 0;
};

// order: pairs sorted by expert, ascending among those of one expert. jobs: experts ascending, each
// cut into pieces of tile_pairs; the rest of the table has no work. Pairs with an id outside
// [0, expert_count) are in no job.
struct ExpertGroupParams {
  const int32_t* ids = nullptr;  // [pairs]
  uint32_t pairs = 0;
  uint32_t expert_count = 0;
  uint32_t tile_pairs = 1;
  uint32_t* order = nullptr;  // [pairs]
  ExpertJob* jobs = nullptr;  // [job_count]
  uint32_t job_count = 0;     // at least expert_jobs_max()
};
int launch_expert_group_any(const ExpertGroupParams& params, gpu::Stream* stream);

// Jobs that any ids can need: each expert with pairs leaves at most one piece unfilled.
inline uint32_t expert_jobs_max(uint32_t pairs, uint32_t expert_count, uint32_t tile_pairs) {
  const uint32_t active = pairs < expert_count ? pairs : expert_count;
  const uint32_t jobs = pairs / tile_pairs + active;
  return jobs < pairs ? jobs : pairs;
}

}  // namespace dsv3::kernels
