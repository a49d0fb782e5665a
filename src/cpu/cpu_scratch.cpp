#include "cpu/cpu_scratch.h"

#include <algorithm>

#include "base/checked.h"

namespace dsv3 {
namespace {

uint32_t width_of(const OpsLimits& limits) {
  const MlaShape& mla = limits.mla;
  return std::max({limits.linear_in_max, mla.latent_rank + mla.rope_dim,
                   mla.nope_dim + mla.rope_dim, mla.value_dim, limits.experts_max});
}

// The same code measures and hands out: see Carver.
void carve_worker(Carver& carver, const OpsLimits& limits, WorkerScratch& worker) {
  const MlaShape& mla = limits.mla;
  const uint64_t width = width_of(limits);
  const uint64_t key_width = uint64_t{mla.nope_dim} + mla.rope_dim;
  worker.x_f32 = carver.take<float>(kRowBlock * width);
  worker.x_scales = carver.take<float>(kRowBlock * ceil_div<uint64_t>(width, kBlock));
  worker.decoded = carver.take<uint16_t>(kDecodeRows * width);
  worker.row_a = carver.take<float>(width);
  worker.row_b = carver.take<float>(width);

  worker.latents = carver.take<uint16_t>(kPageTokens * (uint64_t{mla.latent_rank} + mla.rope_dim));
  const uint64_t queries = std::min(kQueryBlock, limits.rows_max);
  worker.keys = carver.take<std::byte>(kPageTokens * key_width * sizeof(float));
  worker.values = carver.take<float>(kPageTokens * uint64_t{mla.value_dim});
  worker.state_max = carver.take<float>(queries);
  worker.state_sum = carver.take<float>(queries);
  worker.state_value = carver.take<float>(queries * mla.value_dim);
  worker.scores = carver.take<float>(uint64_t{kRowBlock} * kPageTokens);
  worker.query = carver.take<float>(kHeadGroupMax * (uint64_t{mla.latent_rank} + mla.rope_dim));
  worker.latent_sum = carver.take<float>(kHeadGroupMax * uint64_t{mla.latent_rank});

  const uint64_t vocab = limits.sample_rows_max > 0 ? limits.vocab : 0;
  worker.logits = carver.take<float>(vocab);
  worker.order = carver.take<uint32_t>(vocab);
  worker.counts = carver.take<uint32_t>(vocab);
  if (worker.counts != nullptr) std::fill_n(worker.counts, vocab, 0u);
}

void carve_shared(Carver& carver, const OpsLimits& limits, CpuScratch& scratch) {
  scratch.norm_weight = carver.take<float>(width_of(limits));
  scratch.router_logits = carver.take<float>(uint64_t{limits.rows_max} * limits.experts_max);
  scratch.expert_begin = carver.take<uint32_t>(uint64_t{limits.experts_max} + 1);
  scratch.expert_active = carver.take<uint32_t>(limits.experts_max);
  scratch.expert_rows = carver.take<uint32_t>(limits.expert_rows_max);
  scratch.span_tasks = carver.take<uint32_t>(uint64_t{limits.rows_max} + 1);
}

}  // namespace

uint64_t cpu_scratch_bytes(const OpsLimits& limits, uint32_t workers) {
  Carver carver;
  CpuScratch scratch;
  carve_shared(carver, limits, scratch);
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
  Carver carver(scratch.block);
  carve_shared(carver, limits, scratch);
  for (WorkerScratch& worker : scratch.workers) carve_worker(carver, limits, worker);
  return scratch;
}

}  // namespace dsv3
