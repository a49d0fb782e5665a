// The computer that a context runs on: one device with its operations and, on the CPU, threads.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "api/api_options.h"
#include "base/allocator.h"
#include "base/thread_pool.h"
#include "cpu/cpu_device.h"
#include "cuda/cuda_machine.h"
#include "ops/device.h"
#include "ops/ops.h"

namespace dsv3 {

// Stays where it is: what is made from it keeps references.
class Machine {
 public:
  // The device that the options name. UNSUPPORTED with the reason when there is none. `allocator`
  // outlives the machine; `threads` are for the CPU.
  Machine(const ContextOptions& options, Allocator& allocator, const ThreadPoolOptions& threads);
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  Device& device() { return *device_; }
  Ops& ops() { return *ops_; }
  // Null on a GPU.
  ThreadPool* pool() { return pool_.has_value() ? &*pool_ : nullptr; }
  // What counts against the ceiling of the device.
  const Allocator& memory() const { return *memory_; }
  bool is_cuda() const { return cuda_.device != nullptr; }

  // CPU threads, the calling one included; 0 on a GPU.
  uint32_t workers() const { return pool_.has_value() ? pool_->workers() : 0; }
  // What the ceiling does not count: threads; of a GPU, buffers of uploads and the driver's own.
  uint64_t overhead_bytes() const;

  // Workers may look for work briefly between the two.
  void enter();
  void leave();
  // New threads; on failure the old ones go on. LIMIT when they are more than at the beginning. A
  // GPU context has no threads: nothing to do.
  void rebuild_threads(const ThreadPoolOptions& wanted);

 private:
  // The CPU
  std::optional<CpuDevice> cpu_device_;
  std::optional<ThreadPool> pool_;  // its contents are swapped by rebuild_threads
  std::unique_ptr<Ops> cpu_ops_;
  uint32_t workers_max_ = 0;  // that cpu_ops_ have scratch memory for
  // A GPU
  CudaMachine cuda_;

  Device* device_ = nullptr;
  Ops* ops_ = nullptr;
  const Allocator* memory_ = nullptr;
};

}  // namespace dsv3
