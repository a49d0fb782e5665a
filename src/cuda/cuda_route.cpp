// The router, and putting the experts' results together.
#include "base/error.h"
#include "cuda/cuda_ops_impl.h"
#include "kernels/route.h"

namespace dsv3 {

MoeScratch MoeScratch::carve(Carver& carver, const OpsLimits& limits) {
  return {.logits = carver.take<float>(uint64_t{limits.rows_max} * limits.experts_max)};
}

void CudaOps::do_route(const RouteArgs& args) {
  const RouterShape& shape = args.shape;
  const OpsLimits& limits = scratch_.limits;
  if (args.x.rows > limits.rows_max || shape.experts > limits.experts_max) {
    fail(Status::kInternal, "route: ", args.x.rows, " rows and ", shape.experts,
         " experts found, reserved rows_max ", limits.rows_max, " and experts_max ",
         limits.experts_max);
  }
  device_.enter();
  // Products of stored elements, added in FP32; the logits are never rounded to act.
  multiply(args.x, {}, args.gate,
           {.data = scratch_.moe.logits,
            .dtype = DType::kF32,
            .rows = args.x.rows,
            .cols = shape.experts,
            .stride = shape.experts});
  launched(kernels::launch_route_any({.shape = {.experts = shape.experts,
                                                .experts_per_token = shape.experts_per_token,
                                                .groups = shape.groups,
                                                .groups_kept = shape.groups_kept,
                                                .normalise = shape.normalise,
                                                .scaling = shape.scaling},
                                      .rows = args.x.rows,
                                      .logits = scratch_.moe.logits,
                                      .bias = args.bias,
                                      .ids = args.ids,
                                      .weights = args.weights,
                                      .expert_tokens = args.expert_tokens,
                                      .nan_count = args.nan_count},
                                     stream()),
           "route");
}

void CudaOps::do_expert_combine(const ExpertCombineArgs& args) {
  device_.enter();
  launched(kernels::launch_expert_combine_any({.y = kernel_matrix(args.y),
                                               .weights = args.weights,
                                               .experts_per_token = args.experts_per_token,
                                               .shared = kernel_matrix(args.shared),
                                               .out = kernel_matrix(args.out)},
                                              stream()),
           "expert_combine");
}

}  // namespace dsv3
