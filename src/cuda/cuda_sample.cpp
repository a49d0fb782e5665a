// Which token comes next, for every row: one launch that reads all it needs from device memory.
#include "base/error.h"
#include "cuda/cuda_ops_impl.h"
#include "kernels/sample.h"

namespace dsv3 {

SampleScratch SampleScratch::carve(Carver& carver, const OpsLimits& limits) {
  const uint64_t logits = uint64_t{limits.sample_rows_max} * limits.vocab;
  SampleScratch scratch;
  scratch.adjusted = carver.take<float>(logits);
  scratch.counts = carver.take<uint32_t>(logits);
  return scratch;
}

void CudaOps::do_sample(const SampleArgs& args) {
  const OpsLimits& limits = scratch_.limits;
  if (args.logits.rows > limits.sample_rows_max || args.logits.cols > limits.vocab) {
    fail(Status::kInternal, "sample: ", args.logits.rows, " rows of vocabulary ", args.logits.cols,
         " found, reserved sample_rows_max ", limits.sample_rows_max, " and vocab ", limits.vocab);
  }
  device_.enter();
  // The kernel's structs are the same bytes (cuda_layouts.cpp).
  launched(
      kernels::launch_sample_any({.logits = kernel_matrix(args.logits),
                                  .rows = reinterpret_cast<const kernels::SampleRow*>(args.rows),
                                  .results = reinterpret_cast<kernels::SampleResult*>(args.results),
                                  .adjusted = scratch_.sample.adjusted,
                                  .counts = scratch_.sample.counts},
                                 stream()),
      "sample");
}

}  // namespace dsv3
