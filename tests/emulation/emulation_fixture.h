// For tests of the emulator itself: a stream, memory that goes by itself, the text of a failure.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "cuda/gpu_runtime.h"
#include "emulation/emulator.h"
#include "kernels/common/device_code.h"

namespace dsv3::emulation_test {

// An array on both sides: host() is copied there and back.
template <typename T>
class Array {
 public:
  Array(gpu::Stream* stream, size_t count, T value = T{}) : stream_(stream), host_(count, value) {
    EXPECT_EQ(gpu::allocate(bytes(), &device_), 0);
    upload();
  }
  ~Array() { static_cast<void>(gpu::release(device_)); }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;

  T* device() const { return static_cast<T*>(device_); }
  std::vector<T>& host() { return host_; }
  void upload() { EXPECT_EQ(gpu::copy_to_device(device_, host_.data(), bytes(), stream_), 0); }
  // What the device computed; waits for it.
  const std::vector<T>& download() {
    const int error = gpu::copy_to_host(host_.data(), device_, bytes(), stream_);
    EXPECT_EQ(error, 0) << gpu::error_text(error);
    return host_;
  }

 private:
  uint64_t bytes() const { return host_.size() * sizeof(T); }

  gpu::Stream* const stream_;
  std::vector<T> host_;
  void* device_ = nullptr;
};

class EmulationTest : public testing::Test {
 protected:
  EmulationTest() {
    emulator::reset();
    allocations_before_ = emulator::live_allocations();
    objects_before_ = emulator::live_objects();
    EXPECT_EQ(gpu::use_device(0), 0);
    EXPECT_EQ(gpu::stream_create(false, &stream_), 0);
  }
  ~EmulationTest() override {
    static_cast<void>(gpu::stream_destroy(stream_));
    EXPECT_EQ(emulator::live_allocations(), allocations_before_);
    EXPECT_EQ(emulator::live_objects(), objects_before_);
    emulator::reset();
  }

  // One block.
  kernels::Launch block(uint32_t threads, uint32_t shared_bytes = 0) const {
    return {.threads = threads, .shared_bytes = shared_bytes, .stream = stream_};
  }
  // Why the stream failed; "no error" when it did not.
  std::string failure() const { return gpu::error_text(gpu::stream_wait(stream_)); }

  gpu::Stream* stream_ = nullptr;

 private:
  uint64_t allocations_before_ = 0;
  uint64_t objects_before_ = 0;
};

}  // namespace dsv3::emulation_test
