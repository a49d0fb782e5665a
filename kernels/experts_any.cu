// expert_group  order = pairs sorted by (ids[pair], pair); jobs = each expert's pairs in pieces
//   ids [pairs], order [pairs], jobs [job_count].
//   Who does what: every block counts all ids and sums the counts; block 0 writes the jobs; warp w
//   of block b finds the pairs of expert 8 b + w by looking at all ids, 32 at a time. Integers
//   only, so the order of the atomic counts does not show. Bytes: the ids, from L2, once per block
//   and once per busy expert. Bound: latency; a few microseconds for some hundred pairs. Not yet
//   run on hardware.
#include "kernels/common/device_code.h"
#include "kernels/common/warp.h"
#include "kernels/experts.h"
#include "kernels/load_all.h"

namespace dsv3::kernels {
namespace {

constexpr uint32_t kWarps = 8;
constexpr uint32_t kThreads = kWarps * 32;

// In shared memory, per expert: its pairs, where they begin in order, its first job.
struct Counts {
  uint32_t* pairs;
  uint32_t* begin;
  uint32_t* job;
};

__device__ __forceinline__ Counts counts_of(uint32_t experts) {
  uint32_t* arena = &shared_memory<uint32_t>();
  return {arena, arena + experts, arena + 2 * experts + 1};
}

// begin and job: the sums over the experts before, in one warp; job[experts] counts them all.
__device__ __forceinline__ void sum_counts(const ExpertGroupParams& params, const Counts& counts) {
  uint32_t pairs_before = 0;
  uint32_t jobs_before = 0;
  for (uint32_t first = 0; first < params.expert_count; first += 32) {
    const uint32_t expert = first + lane_index();
    const uint32_t pairs = expert < params.expert_count ? counts.pairs[expert] : 0;
    const uint32_t jobs = (pairs + params.tile_pairs - 1) / params.tile_pairs;
    uint32_t pairs_sum = pairs;  // up to and with this lane
    uint32_t jobs_sum = jobs;
    for (uint32_t distance = 1; distance < 32; distance *= 2) {
      const uint32_t more_pairs = __shfl_up_sync(kAllLanes, pairs_sum, distance);
      const uint32_t more_jobs = __shfl_up_sync(kAllLanes, jobs_sum, distance);
      if (lane_index() >= distance) {
        pairs_sum += more_pairs;
        jobs_sum += more_jobs;
      }
    }
    if (expert < params.expert_count) {
      counts.begin[expert] = pairs_before + pairs_sum - pairs;
      counts.job[expert] = jobs_before + jobs_sum - jobs;
    }
    pairs_before += __shfl_sync(kAllLanes, pairs_sum, 31);
    jobs_before += __shfl_sync(kAllLanes, jobs_sum, 31);
  }
  if (lane_index() == 0) counts.job[params.expert_count] = jobs_before;
}

__device__ __forceinline__ void write_jobs(const ExpertGroupParams& params, const Counts& counts) {
  for (uint32_t expert = threadIdx.x; expert < params.expert_count; expert += kThreads) {
    uint32_t left = counts.pairs[expert];
    ExpertJob job{expert, counts.begin[expert], 0};
    for (uint32_t index = counts.job[expert]; left > 0; ++index) {
      job.count = left < params.tile_pairs ? left : params.tile_pairs;
      params.jobs[index] = job;
      job.first += job.count;
      left -= job.count;
    }
  }
  const uint32_t used = counts.job[params.expert_count];
  for (uint32_t i = used + threadIdx.x; i < params.job_count; i += kThreads) {
    params.jobs[i] = ExpertJob{};
  }
}

// One warp, one expert.
__device__ __forceinline__ void write_order(const ExpertGroupParams& params, uint32_t expert,
                                            uint32_t begin, uint32_t count) {
  const uint32_t lanes_before = (1u << lane_index()) - 1;
  uint32_t found = 0;
  for (uint32_t first = 0; found < count; first += 32) {
    const uint32_t pair = first + lane_index();
    const bool is_mine = pair < params.pairs && static_cast<uint32_t>(params.ids[pair]) == expert;
    const uint32_t mine = __ballot_sync(kAllLanes, is_mine ? 1 : 0);
    if (is_mine) params.order[begin + found + __popc(mine & lanes_before)] = pair;
    found += static_cast<uint32_t>(__popc(mine));
  }
}

__global__ void __launch_bounds__(kThreads) expert_group_kernel(ExpertGroupParams params) {
  const Counts counts = counts_of(params.expert_count);
  for (uint32_t i = threadIdx.x; i < params.expert_count; i += kThreads) counts.pairs[i] = 0;
  __syncthreads();
  for (uint32_t pair = threadIdx.x; pair < params.pairs; pair += kThreads) {
    const auto expert = static_cast<uint32_t>(params.ids[pair]);
    if (expert < params.expert_count) atomicAdd(&counts.pairs[expert], 1u);
  }
  __syncthreads();
  if (warp_index() == 0) sum_counts(params, counts);
  __syncthreads();
  if (blockIdx.x == 0) write_jobs(params, counts);
  const uint32_t expert = blockIdx.x * kWarps + warp_index();
  if (expert >= params.expert_count) return;
  write_order(params, expert, counts.begin[expert], counts.pairs[expert]);
}

}  // namespace

int launch_expert_group_any(const ExpertGroupParams& params, gpu::Stream* stream) {
  const Launch where{.blocks = {(params.expert_count + kWarps - 1) / kWarps, 1, 1},
                     .threads = kThreads,
                     .shared_bytes = (3 * params.expert_count + 2) * 4,
                     .stream = stream};
  return launch(expert_group_kernel, where, params);
}

int load_experts_any() { return load(expert_group_kernel); }

}  // namespace dsv3::kernels
