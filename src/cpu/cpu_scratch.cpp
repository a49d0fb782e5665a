#include "cpu/cpu_scratch.h"

#include <algorithm>

#include "base/checked.h"
#include "cpu/cpu_attend_kernels.h"

namespace dsv3 {
namespace {

uint32_t width_of(const OpsLimits& limits) {
  const MlaShape& mla = limits.mla;
  return std::max({limits.linear_in_max, mla.latent_rank + mla.rope_dim,
                   mla.nope_dim + mla.rope_dim, mla.value_dim, limits.experts_max});
}

// The same code measures and hands out: see Carver.
void carve_lanes(Carver& carver, const OpsLimits& limits, WorkerScratch& worker) {
  const MlaShape& mla = limits.mla;
  const uint64_t blocks = ceil_div(std::min(kQueryBlock, limits.rows_max), kLanes);
  const uint64_t prompt = blocks * packed_words(uint64_t{mla.nope_dim} + mla.rope_dim);
  const uint64_t cached = packed_words(uint64_t{mla.latent_rank} + mla.rope_dim);
  const uint64_t weight_blocks = ceil_div(mla.nope_dim, kLanes) + ceil_div(mla.value_dim, kLanes);
  worker.lanes = carver.take<uint32_t>(std::max(prompt, cached));
  worker.weight_lanes = carver.take<uint32_t>(weight_blocks * packed_words(mla.latent_rank));
  worker.weights = carver.take<uint32_t>(uint64_t{kPageTokens} / 2 * kLanes);
  worker.factors = carver.take<float>(kLanes);
  worker.absorbed = carver.take<float>(uint64_t{kLanes} * mla.latent_rank);
  worker.nopes = carver.take<uint16_t>(uint64_t{kLanes} * mla.nope_dim);
}

void carve_worker(Carver& carver, const OpsLimits& limits, WorkerScratch& worker) {
  const MlaShape& mla = limits.mla;
  const uint64_t width = width_of(limits);
  const uint64_t key_width = uint64_t{mla.nope_dim} + mla.rope_dim;
  worker.x_f32 = carver.take<float>(kRowBlock * width);
  worker.x_scales = carver.take<float>(kRowBlock * ceil_div<uint64_t>(width, kBlock));
  worker.decoded =
      carver.take<uint16_t>(kDecodeRows * ceil_div<uint64_t>(width, kLineElements) * kLineElements);
  worker.row_a = carver.take<float>(width);
  worker.row_b = carver.take<float>(width);

  worker.latents = carver.take<uint16_t>(kPageTokens * (uint64_t{mla.latent_rank} + mla.rope_dim));
  // Whole blocks of lanes, also where the last one is not full.
  const uint64_t queries =
      uint64_t{ceil_div(std::min(kQueryBlock, limits.rows_max), kLanes)} * kLanes;
  worker.keys = carver.take<std::byte>(kPageTokens * key_width * sizeof(float));
  worker.values = carver.take<float>(kPageTokens * uint64_t{mla.value_dim});
  worker.state_max = carver.take<float>(queries);
  worker.state_sum = carver.take<float>(queries);
  worker.state_value = carver.take<float>(queries * mla.value_dim);
  worker.scores = carver.take<float>(uint64_t{kRowBlock} * kPageTokens);
  worker.query = carver.take<float>(kHeadGroupMax * (uint64_t{mla.latent_rank} + mla.rope_dim));
  worker.latent_sum = carver.take<float>(kHeadGroupMax * uint64_t{mla.latent_rank});

  carve_lanes(carver, limits, worker);

  const uint64_t vocab = limits.sample_rows_max > 0 ? limits.vocab : 0;
  worker.logits = carver.take<float>(vocab);
  worker.order = carver.take<uint32_t>(vocab);
  worker.counts = carver.take<uint32_t>(vocab);
  if (worker.counts != nullptr) std::fill_n(worker.counts, vocab, 0u);
}

void carve_shared(Carver& carver, const OpsLimits& limits, uint32_t workers, CpuScratch& scratch) {
  scratch.norm_weight = carver.take<float>(width_of(limits));
  scratch.router_logits = carver.take<float>(uint64_t{limits.rows_max} * limits.experts_max);
  scratch.expert_begin = carver.take<uint32_t>(uint64_t{limits.experts_max} + 1);
  scratch.expert_active = carver.take<uint32_t>(limits.experts_max);
  scratch.expert_rows = carver.take<uint32_t>(limits.expert_rows_max);
  scratch.span_tasks = carver.take<uint32_t>(uint64_t{limits.rows_max} + 1);
  scratch.units = carver.take<UnitRange>(workers);

  const MlaShape& mla = limits.mla;
  scratch.rope_angles = carver.take<float>(uint64_t{limits.rows_max} * mla.rope_dim);
  scratch.rope_positions = carver.take<uint32_t>(limits.rows_max);
  scratch.rope_inv_freq = carver.take<float>(mla.rope_dim / 2);
  const uint64_t rows = uint64_t{std::min(kCachedRows, limits.rows_max)} * mla.heads;
  const uint64_t slots = uint64_t{workers} * kSplitSlots * kLanes;
  scratch.cached_rows = carver.take<uint32_t>(limits.rows_max);
  scratch.cached_units = carver.take<uint32_t>(kCachedRows + 1);
  scratch.queries = carver.take<uint16_t>(rows * (uint64_t{mla.latent_rank} + mla.rope_dim));
  scratch.latent_means = carver.take<float>(rows * mla.latent_rank);
  scratch.split_sums = carver.take<float>(slots * mla.latent_rank);
  scratch.split_states = carver.take<float>(slots * 2);
}

}  // namespace

uint64_t cpu_scratch_bytes(const OpsLimits& limits, uint32_t workers) {
  Carver carver;
  CpuScratch scratch;
  carve_shared(carver, limits, workers, scratch);
  WorkerScratch worker;
  for (uint32_t i = 0; i < workers; ++i) carve_worker(carver, limits, worker);
  return carver.bytes();
}

CpuScratch make_cpu_scratch(Allocator& allocator, const OpsLimits& limits, uint32_t workers) {
  CpuScratch scratch;
  scratch.limits = limits;
  scratch.width = width_of(limits);
  scratch.workers.resize(workers);
  scratch.block = Block(allocator, cpu_scratch_bytes(limits, workers), "scratch memory of the CPU");
  scratch.block.make_resident();
  Carver carver(scratch.block);
  carve_shared(carver, limits, workers, scratch);
  for (WorkerScratch& worker : scratch.workers) carve_worker(carver, limits, worker);
  return scratch;
}

}  // namespace dsv3
