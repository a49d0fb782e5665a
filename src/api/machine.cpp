#include "api/machine.h"

#include "base/error.h"

namespace dsv3 {
namespace {

constexpr uint64_t kThreadBytes = 64u << 10;  // a thread's stack and bookkeeping, roughly

uint32_t workers_of(const ThreadPoolOptions& threads) {
  return threads.host.run != nullptr ? threads.host.workers_max : threads.threads;
}

}  // namespace

Machine::Machine(const ContextOptions& options, Allocator& allocator,
                 const ThreadPoolOptions& threads) {
  if (options.device == DSV3_DEVICE_CUDA) {
    cuda_ = make_cuda_machine({.ordinal = options.device_ordinal,
                               .ceiling_bytes = options.ceiling_bytes,
                               .high_priority = options.gpu_high_priority,
                               .activation_quant = options.activation_quant},
                              allocator);
    device_ = cuda_.device.get();
    ops_ = cuda_.ops.get();
    memory_ = cuda_.memory;
    return;
  }
  cpu_device_.emplace(allocator);
  pool_.emplace(threads);
  workers_max_ = pool_->workers();
  cpu_ops_ = make_cpu_ops(*pool_, allocator, options.cpu_level, options.activation_quant);
  device_ = &*cpu_device_;
  ops_ = cpu_ops_.get();
  memory_ = &allocator;
}

uint64_t Machine::overhead_bytes() const {
  return workers_max_ * kThreadBytes + cuda_.driver_bytes + cuda_.upload_bytes;
}

void Machine::enter() {
  if (pool_.has_value()) pool_->enter();
}

void Machine::leave() {
  if (pool_.has_value()) pool_->leave();
}

void Machine::rebuild_threads(const ThreadPoolOptions& wanted) {
  if (!pool_.has_value()) return;
  if (workers_of(wanted) > workers_max_) {
    fail(Status::kLimit, "threads: found ", workers_of(wanted), ", wanted at most the ",
         workers_max_, " that the model was loaded with: its scratch memory is made for these");
  }
  // Made before the old ones go: then nothing can fail any more.
  ThreadPool fresh(wanted);
  pool_->swap(fresh);
}

}  // namespace dsv3
