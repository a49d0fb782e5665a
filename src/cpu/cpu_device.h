// The CPU as a Device: device memory is host memory, copies are memcpy, order is program order.
#pragma once

#include <functional>
#include <memory>
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
  uint32_t passes_ahead() const override { return 0; }
  Block allocate(uint64_t bytes, std::string_view what) override;
  Block allocate_host(uint64_t bytes, std::string_view what) override {
    return allocate(bytes, what);
  }
  Weight load(const TensorView& tensor, const TensorView* scales) override;
  uint64_t weight_bytes(const Shape& shape, DType dtype) const override;
  Weight place(const Shape& shape, DType dtype, std::byte* memory) const override;
  void upload(const Weight& weight, uint64_t offset, const void* host, uint64_t bytes) override;
  void upload_scales(const Weight& weight, const float* host) override;
  void copy_to_device(void* device, const void* host, uint64_t bytes) override;
  void copy_to_host(void* host, const void* device, uint64_t bytes) override;
  void fill_zero(void* device, uint64_t bytes) override;
  // Everything has happened when its call returns.
  void synchronize() override {}
  std::unique_ptr<Marker> make_marker() override { return std::make_unique<Marker>(); }
  void mark(Marker&) override {}
  void wait(Marker&) override {}
  // A recording would save nothing: ops are plain calls.
  std::unique_ptr<Recording> record(const std::function<void()>&) override { return nullptr; }
  void replay(Recording&) override;

 private:
  Allocator& allocator_;
};

}  // namespace dsv3
