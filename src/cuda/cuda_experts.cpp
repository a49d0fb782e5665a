// How are the rows of routed experts grouped, and by which tiles are they multiplied?
#include "base/error.h"
#include "cuda/cuda_ops_impl.h"

namespace dsv3 {
namespace {

using kernels::LinearTile;

void check_limits(const char* op, const OpsLimits& limits, uint32_t cols, uint32_t rows,
                  uint32_t expert_count) {
  const auto check = [op](const char* limit, uint32_t found, uint32_t maximum) {
    if (found > maximum) {
      fail(Status::kInternal, op, ": ", found, " found, reserved ", limit, " ", maximum);
    }
  };
  check("linear_in_max", cols, limits.linear_in_max);
  check("expert_rows_max", rows, limits.expert_rows_max);
  check("experts_max", expert_count, limits.experts_max);
}

// The host knows how many rows an expert gets on average, no more. Few: weights streamed for eight
// rows at a time, so that no multiprocessor waits for a busy expert's tile. The results do not
// depend on it.
LinearTile choose_tile(uint32_t rows, uint32_t expert_count) {
  constexpr uint32_t kStreamRows = 4;  // average
  constexpr uint32_t kSmallRows = 48;
  const uint64_t experts = expert_count;
  if (rows <= experts * kStreamRows) return LinearTile::kStream;
  return rows <= experts * kSmallRows ? LinearTile::kSmall : LinearTile::kLarge;
}

}  // namespace

ExpertScratch ExpertScratch::carve(Carver& carver, const OpsLimits& limits) {
  return {.order = carver.take<uint32_t>(limits.expert_rows_max),
          .jobs = carver.take<kernels::ExpertJob>(limits.expert_rows_max)};
}

void CudaOps::run_experts(kernels::LinearParams params, bool single_token, const char* op) {
  kernels::ExpertRows& experts = params.experts;
  const uint32_t rows = params.y.rows;
  // The experts' weights are known to the device alone; any tile does for them.
  const bool has_tiles = params.x.type == kernels::Type::kBF16 || params.x_codes.codes != nullptr;
  LinearTile tile = LinearTile::kPlain;
  if (has_tiles) {
    check_rows_aligned(params);
    tile = choose_tile(rows, experts.expert_count);
  }
  if (single_token) {
    experts.job_count = rows;
  } else {
    const uint32_t tile_rows = kernels::linear_tile_shape(tile).rows;
    experts.order = scratch_.experts.order;
    experts.jobs = scratch_.experts.jobs;
    experts.job_count = kernels::expert_jobs_max(rows, experts.expert_count, tile_rows);
    launched(kernels::launch_expert_group_any({.ids = experts.ids,
                                               .pairs = rows,
                                               .expert_count = experts.expert_count,
                                               .tile_pairs = tile_rows,
                                               .order = scratch_.experts.order,
                                               .jobs = scratch_.experts.jobs,
                                               .job_count = experts.job_count},
                                              stream()),
             "expert_group");
  }
  launched(kernels::launch_linear_any(params, tile, stream()), op);
}

void CudaOps::do_expert_gate_up(const ExpertGateUpArgs& args) {
  check_limits("expert_gate_up", scratch_.limits, args.x.cols, args.hidden.rows, args.expert_count);
  device_.enter();
  kernels::Codes codes;
  if (quant_ == ActivationQuant::k1x128) {
    codes = args.x_codes.present() ? kernel_codes(args.x_codes) : quantise(args.x);
  }
  run_experts(
      {.x = kernel_matrix(args.x),
       .x_codes = codes,
       .experts = {.experts = reinterpret_cast<const kernels::ExpertMatrices*>(args.experts),
                   .expert_count = args.expert_count,
                   .part = kernels::ExpertPart::kGateUp,
                   .x_share = args.experts_per_token,
                   .ids = args.ids},
       .y = kernel_matrix(args.hidden)},
      args.x.rows == 1, "expert_gate_up");
}

void CudaOps::do_expert_down(const ExpertDownArgs& args) {
  check_limits("expert_down", scratch_.limits, args.hidden.cols, args.y.rows, args.expert_count);
  device_.enter();
  run_experts(
      {.x = kernel_matrix(args.hidden),
       .x_codes = quant_ == ActivationQuant::k1x128 ? quantise(args.hidden) : kernels::Codes{},
       .experts = {.experts = reinterpret_cast<const kernels::ExpertMatrices*>(args.experts),
                   .expert_count = args.expert_count,
                   .part = kernels::ExpertPart::kDown,
                   .x_share = 1,
                   .ids = args.ids},
       .y = kernel_matrix(args.y)},
      args.hidden.rows == args.experts_per_token, "expert_down");
}

}  // namespace dsv3
