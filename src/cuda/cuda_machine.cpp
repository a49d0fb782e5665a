#include "cuda/cuda_machine.h"

#include <utility>

#include "base/error.h"
#include "cuda/cuda_device.h"
#include "cuda/cuda_ops_impl.h"

namespace dsv3 {

CudaMachine make_cuda_machine(const CudaMachineOptions& options, Allocator& host_allocator) {
  auto device =
      std::make_unique<CudaDevice>(CudaDeviceOptions{.ordinal = options.ordinal,
                                                     .ceiling_bytes = options.ceiling_bytes,
                                                     .high_priority = options.high_priority},
                                   host_allocator);
  const gpu::Properties& found = device->properties();
  // Products of e4m3 codes need tensor cores that take them.
  if (options.activation_quant == ActivationQuant::k1x128 && found.major * 10 + found.minor < 89) {
    fail(Status::kUnsupported, "activation_quant 1x128 on ", device->description(),
         " of compute capability ", found.major, ".", found.minor, ", wanted 8.9 or newer");
  }
  CudaMachine machine;
  machine.ops = std::make_unique<CudaOps>(*device, options.activation_quant);
  machine.memory = &device->memory();
  machine.driver_bytes = device->driver_bytes();
  machine.upload_bytes = CudaDevice::kUploadRingBytes;
  machine.device = std::move(device);
  return machine;
}

// Without a driver there is no context to keep.
HostGpuScope::HostGpuScope(bool uses_gpu) noexcept {
  is_kept_ = uses_gpu && gpu::current_context(&context_) == 0;
}

HostGpuScope::~HostGpuScope() {
  if (is_kept_) static_cast<void>(gpu::set_current_context(context_));
}

const char* cuda_build_text() { return gpu::backend_name(); }

}  // namespace dsv3
