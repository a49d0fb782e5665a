// The one door of this room: a GPU with its operations, or the reason why there is none. A build
// without CUDA has cuda_absent.cpp behind the same door.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/allocator.h"
#include "ops/device.h"
#include "ops/ops.h"

namespace dsv3 {

struct CudaMachineOptions {
  int ordinal = 0;
  uint64_t ceiling_bytes = 0;  // of GPU memory; 0 = none
  bool high_priority = false;
  ActivationQuant activation_quant = ActivationQuant::kNone;
};

// Members in order of dependence.
struct CudaMachine {
  std::unique_ptr<Device> device;
  std::unique_ptr<Ops> ops;
  const Allocator* memory = nullptr;  // the GPU's: what counts against the ceiling
  uint64_t driver_bytes = 0;          // what the driver took for itself, as far as it shows
  uint64_t upload_bytes = 0;          // pinned memory that weights stream through
};

// UNSUPPORTED with the reason: built without CUDA, no driver, no such device, too old a device, or
// activation_quant 1x128 below compute capability 8.9. `host_allocator` outlives the machine.
CudaMachine make_cuda_machine(const CudaMachineOptions& options, Allocator& host_allocator);

// A guest in the process: what the host itself does with GPUs on this thread goes on, after the
// scope, in the context that it was in (or in none). Without a GPU in use (false) it does nothing.
class HostGpuScope {
 public:
  explicit HostGpuScope(bool uses_gpu) noexcept;
  ~HostGpuScope();
  HostGpuScope(const HostGpuScope&) = delete;
  HostGpuScope& operator=(const HostGpuScope&) = delete;

 private:
  void* context_ = nullptr;  // the host's
  bool is_kept_ = false;
};

// For dsv3_build_info: "cuda 13.0", "cuda emulated", "no cuda".
const char* cuda_build_text();

}  // namespace dsv3
