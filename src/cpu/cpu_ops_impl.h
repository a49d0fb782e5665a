// The class behind make_cpu_ops: one kernel table, one pool, one scratch. Which file holds which
// op: cpu_norm (tokens, embed, norms, swiglu, copy), cpu_linear, cpu_attention,
// cpu_attention_absorbed, cpu_attend_prompt, cpu_attend_cached, cpu_moe, cpu_route, cpu_sample.
#pragma once

#include <span>
#include <string>

#include "base/thread_pool.h"
#include "cpu/cpu_attend_kernels.h"
#include "cpu/cpu_kernels.h"
#include "cpu/cpu_panel.h"
#include "cpu/cpu_scratch.h"
#include "ops/ops.h"

namespace dsv3 {

// One span's share of an attention task.
struct AttendTask {
  const MlaAttendArgs& args;
  const BatchSpan& span;
  uint32_t row_begin = 0;  // of the span
  uint32_t row_count = 0;  // at most kQueryBlock; 1 when absorbed
  uint32_t head_begin = 0;
  uint32_t head_count = 0;  // 1 when unabsorbed; at most kHeadGroupMax
};

struct ExpertLoop;

class CpuOps final : public Ops {
 public:
  CpuOps(ThreadPool& pool, Allocator& allocator, const CpuKernels& kernels, ActivationQuant quant)
      : pool_(pool),
        allocator_(allocator),
        kernels_(kernels),
        attend_(kernels.level == CpuLevel::kAvx512Bf16 ? attend_kernels_avx512() : nullptr),
        quant_(quant) {}

  std::string description() const override;
  uint64_t scratch_bytes(const OpsLimits& limits) const override;
  void reserve(const OpsLimits& limits) override;
  ActivationQuant activation_quant() const override { return quant_; }
  bool wants_codes() const override { return false; }
  bool takes_shared_expert() const override { return true; }

 private:
  void do_take_tokens(const TakeTokensArgs& args) override;
  void do_embed(const EmbedArgs& args) override;
  void do_add_norm(const AddNormArgs& args) override;
  void do_rms_norm(const RmsNormArgs& args) override;
  void do_linear(const LinearArgs& args) override;
  void do_linears(std::span<const LinearArgs> all) override;
  void do_mla_append(const MlaAppendArgs& args) override;
  void do_mla_attend(const MlaAttendArgs& args) override;
  void do_route(const RouteArgs& args) override;
  void do_expert_gate_up(const ExpertGateUpArgs& args) override;
  void do_expert_down(const ExpertDownArgs& args) override;
  void do_expert_combine(const ExpertCombineArgs& args) override;
  void do_swiglu(const SwigluArgs& args) override;
  void do_copy_rows(const CopyRowsArgs& args) override;
  void do_sample(const SampleArgs& args) override;

  Panel panel(uint32_t worker) const { return {kernels_, scratch_.workers[worker], quant_}; }

  // Runs body(task, worker); a single task runs here, without waking anybody.
  template <typename Body>
  void run(uint64_t tasks, const Body& body) {
    if (tasks == 1) {
      body(0u, 0u);
    } else {
      pool_.run(static_cast<uint32_t>(tasks), body);
    }
  }
  // Runs body(row, worker) for each row, several rows to a unit where a row is little work.
  template <typename Body>
  void run_rows(uint32_t rows, uint64_t row_cost, const Body& body);

  // Runs body(unit, worker), each worker over consecutive units as far as possible.
  template <typename Body>
  void run_units(uint32_t units, const Body& body);
  // Runs body(begin, end, worker) over all units. `in_stretches`: many at a time.
  template <typename Body>
  void run_stretches(uint32_t units, bool in_stretches, const Body& body);

  // Outputs per unit so that all workers are busy to the end and no unit is too small to be worth
  // handing out. `outs_total` of the whole loop, `rows` of x for each; a multiple of 8.
  uint32_t outs_per_unit(uint64_t outs_total, const Weight& weight, uint32_t rows) const;
  // y = x W^T; `exact`: x in F32 even where the kernels would take BF16.
  void multiply(std::span<const LinearArgs> all, bool exact);
  void multiply(const ConstRows& x, const Weight& weight, const Rows& y, bool exact) {
    const LinearArgs args{.x = x, .weight = weight, .y = y};
    multiply({&args, 1}, exact);
  }
  void multiply_range(const ConstRows& x, const Weight& weight, const Rows& y, bool exact,
                      const OutRange& range, const Panel& panel) const;

  void attend_unabsorbed(const AttendTask& task, const Panel& panel) const;
  void attend_absorbed(const AttendTask& task, const Panel& panel) const;
  // The same over BF16 operands, where the level has kernels for it (cpu_attend_*).
  void attend_bf16(const MlaAttendArgs& args);
  void attend_prompt(const MlaAttendArgs& args);
  void attend_cached(const MlaAttendArgs& args, uint32_t first, uint32_t count);
  void group_by_expert(const int32_t* ids, uint32_t count, uint32_t expert_count);
  // Runs body(unit, worker) over the outputs of all active experts and, first, of the shared one.
  template <typename Body>
  void run_experts(const ExpertLoop& loop, const Body& body);

  ThreadPool& pool_;
  Allocator& allocator_;
  const CpuKernels& kernels_;
  const AttendKernels* const attend_;  // null: attention multiplies in FP32
  const ActivationQuant quant_;
  CpuScratch scratch_;
  uint32_t active_experts_ = 0;  // of the last group_by_expert
};

template <typename Body>
void CpuOps::run_stretches(uint32_t units, bool in_stretches, const Body& body) {
  const uint32_t workers = pool_.workers();
  if (units == 1 || workers == 1) {
    body(0u, units, 0u);
    return;
  }
  Units all(scratch_.units, workers, units);
  pool_.run(workers, [&](uint32_t task, uint32_t worker) {
    all.work(task, in_stretches, [&](uint32_t begin, uint32_t end) { body(begin, end, worker); });
  });
}

template <typename Body>
void CpuOps::run_units(uint32_t units, const Body& body) {
  run_stretches(units, false, [&](uint32_t begin, uint32_t end, uint32_t worker) {
    for (uint32_t unit = begin; unit < end; ++unit) body(unit, worker);
  });
}

template <typename Body>
void CpuOps::run_rows(uint32_t rows, uint64_t row_cost, const Body& body) {
  constexpr uint64_t kTaskCost = 1u << 14;  // element operations; a hand-out costs some hundred
  const auto group = static_cast<uint32_t>(row_cost >= kTaskCost ? 1 : kTaskCost / (row_cost + 1));
  const uint32_t tasks = (rows + group - 1) / group;
  run_units(tasks, [&](uint32_t task, uint32_t worker) {
    const uint32_t end = (rows - task * group < group) ? rows : task * group + group;
    for (uint32_t row = task * group; row < end; ++row) body(row, worker);
  });
}

}  // namespace dsv3
