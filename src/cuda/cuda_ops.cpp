// What is CudaOps before it computes: which GPU, how much scratch?
#include <algorithm>
#include <utility>

#include "base/error.h"
#include "cuda/cuda_ops_impl.h"

namespace dsv3 {
namespace {

// The same code measures and hands out: see Carver. A linear may run inside an op of another family
// (its input is quantised there); the other families never meet and share their bytes.
uint64_t carve(const Carver& start, const OpsLimits& limits, ActivationQuant quant,
               CudaScratch& scratch) {
  Carver linear = start;
  scratch.linear = LinearScratch::carve(linear, limits, quant);
  Carver moe = linear;
  scratch.moe = MoeScratch::carve(moe, limits);
  Carver experts = linear;
  scratch.experts = ExpertScratch::carve(experts, limits);
  Carver attention = linear;
  scratch.attention = AttentionScratch::carve(attention, limits);
  Carver sample = linear;
  scratch.sample = SampleScratch::carve(sample, limits);
  return std::max({moe.bytes(), experts.bytes(), attention.bytes(), sample.bytes()});
}

}  // namespace

std::string CudaOps::description() const {
  const gpu::Properties& gpu = device_.properties();
  return str("cuda sm_", gpu.major, gpu.minor, ", ", gpu.name, ", ", gpu.multiprocessors,
             " multiprocessors, activation_quant ",
             quant_ == ActivationQuant::k1x128 ? "1x128" : "none");
}

uint64_t CudaOps::scratch_bytes(const OpsLimits& limits) const {
  CudaScratch measured;
  return carve(Carver(), limits, quant_, measured);
}

void CudaOps::reserve(const OpsLimits& limits) {
  CudaScratch scratch;
  scratch.limits = limits;
  scratch.memory = device_.allocate(scratch_bytes(limits), "scratch memory of the GPU");
  carve(Carver(scratch.memory), limits, quant_, scratch);
  scratch_ = std::move(scratch);
}

}  // namespace dsv3
