// The door of src/cuda in a build without CUDA (DSV3_CUDA=OFF).
#include "base/error.h"
#include "cuda/cuda_machine.h"

namespace dsv3 {

CudaMachine make_cuda_machine(const CudaMachineOptions& /*options*/, Allocator& /*allocator*/) {
  fail(Status::kUnsupported, "device cuda: this library was built without CUDA (DSV3_CUDA=OFF)");
}

HostGpuScope::HostGpuScope(bool /*uses_gpu*/) noexcept {}
HostGpuScope::~HostGpuScope() {}  // NOLINT: as declared for both answers behind the door

const char* cuda_build_text() { return "no cuda"; }

}  // namespace dsv3
