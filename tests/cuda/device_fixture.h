// What tests of a device share: bytes that say where they stand, the look back at what arrived, and
// one op that moves what it finds.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "cuda/cuda_machine.h"
#include "ops/ops_fixture.h"

namespace dsv3::cuda_test {

inline std::vector<std::byte> read_back(Device& device, const void* from, uint64_t bytes) {
  std::vector<std::byte> out(bytes);
  device.copy_to_host(out.data(), from, bytes);
  device.synchronize();
  return out;
}

// Bytes that say where they stand.
inline std::vector<std::byte> numbered(uint64_t bytes) {
  std::vector<std::byte> out(bytes);
  for (uint64_t i = 0; i < bytes; ++i) out[i] = static_cast<std::byte>(i * 31 + i / 251 + 1);
  return out;
}

// Rows 0.. of `weight` hold `file`, and zeros from their columns to the stride.
inline void expect_rows(Device& device, const Weight& weight, const std::vector<std::byte>& file) {
  const uint64_t element = dtype_bits(weight.dtype) / 8;
  const uint64_t row = weight.cols * element;
  const uint64_t stride = weight.stride * element;
  EXPECT_EQ(stride % 16, 0u);
  const auto there = read_back(device, weight.data, weight.rows * stride);
  for (uint32_t r = 0; r < weight.rows; ++r) {
    ASSERT_EQ(std::memcmp(&there[r * stride], &file[r * row], row), 0) << "row " << r;
    for (uint64_t i = row; i < stride; ++i) {
      ASSERT_EQ(there[r * stride + i], std::byte{0}) << "row " << r << ", byte " << i;
    }
  }
}

// copy_rows between two rows of device memory: one op that moves what it finds.
class Copying {
 public:
  Copying(int ordinal, Allocator& host)
      : machine_(make_cuda_machine({.ordinal = ordinal}, host)),
        memory_(machine_.device->allocate(128, "rows")) {
    machine_.ops->reserve(ops_test::test_limits());
    const std::vector<float> zeros(32, 0.0f);
    machine_.device->copy_to_device(memory_.data(), zeros.data(), 128);
    machine_.device->synchronize();
  }
  Device& device() { return *machine_.device; }
  void enqueue() {
    const Rows from{memory_.data(), DType::kF32, 1, 16, 16};
    const Rows to{memory_.data() + 64, DType::kF32, 1, 16, 16};
    machine_.ops->copy_rows(
        {.x = from, .x_rows = nullptr, .out = to, .out_rows = nullptr, .count = 1});
  }
  void set(float value) {
    const std::vector<float> row(16, value);
    device().copy_to_device(memory_.data(), row.data(), 64);
    device().synchronize();
  }
  float result() {
    float out = -1.0f;
    device().copy_to_host(&out, memory_.data() + 64 + 60, 4);
    device().synchronize();
    return out;
  }

 private:
  CudaMachine machine_;
  Block memory_;
};

}  // namespace dsv3::cuda_test
