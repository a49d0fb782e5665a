// The CPU as a Device: device memory is host memory, copies are memcpy, order is program order.
#pragma once

#include <string>
#include <string_view>

#include "ops/device.h"

namespace dsv3 {

class CpuDevice final : public Device {
 public:
  // `allocator` outlives the device and all its blocks.
  explicit CpuDevice(Allocator& allocator) : allocator_(allocator) {}

  std::string description() const override { return "cpu"; }
  bool reads_host_memory() const override { return true; }
  Block allocate(uint64_t bytes, std::string_view what) override;
  Weight load(const TensorView& tensor, const TensorView* scales) override;
  void copy_to_device(void* device, const void* host, uint64_t bytes) override;
  void copy_to_host(void* host, const void* device, uint64_t bytes) override;
  void synchronize() override {}

 private:
  Allocator& allocator_;
};

}  // namespace dsv3
