// Is a GPU as a Device what the seam promises? Weights uploaded in odd pieces, ceilings, order,
// recordings and threads, on the GPU this program is linked with (real or emulated).
#include "cuda/cuda_device.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <thread>
#include <vector>

#include "base/error.h"
#include "cuda/device_fixture.h"
#include "support/expect_error.h"

namespace dsv3::cuda_test {
namespace {

int gpu_count() {
  std::string why_none;
  return gpu::device_count(&why_none);
}

class CudaDeviceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (gpu_count() == 0) GTEST_SKIP() << "no GPU";
  }
  // The second GPU, or a second context on the only one.
  const int second_ = std::min(1, gpu_count() - 1);
  Allocator host_{{}, 0};
};

// Uploads a weight in pieces of so many bytes, and looks at it.
void expect_uploaded(Device& device, const Shape& shape, DType dtype, uint64_t piece) {
  const auto file = numbered(shape.elements() * dtype_bits(dtype) / 8);
  const Block memory = device.allocate(device.weight_bytes(shape, dtype), "weight");
  const Weight weight = device.place(shape, dtype, memory.data());
  for (uint64_t at = 0; at < file.size(); at += piece) {
    device.upload(weight, at, &file[at], std::min(piece, file.size() - at));
  }
  expect_rows(device, weight, file);
}

TEST_F(CudaDeviceTest, WeightsArriveWholeFromPiecesOfAnySize) {
  CudaDevice device({}, host_);
  for (const Shape& shape : {Shape{1, 1}, Shape{7}, Shape{5, 13}, Shape{3, 128}, Shape{1024}}) {
    for (const DType dtype : {DType::kF8E4M3, DType::kBF16, DType::kF16, DType::kF32}) {
      EXPECT_EQ(device.weight_bytes(shape, dtype) % 256, 0u);
      for (const uint64_t piece : {1u, 7u, 1000u, 1u << 20}) {
        expect_uploaded(device, shape, dtype, piece);
      }
    }
  }
  expect_uploaded(device, {300, 129}, DType::kBF16, 777);
}

// More than the three staging buffers hold, in rows that no buffer ends with.
TEST_F(CudaDeviceTest, WeightsLargerThanTheStagingBuffers) {
  CudaDevice device({}, host_);
  for (const Shape& shape : {Shape{33, 1000003}, Shape{2, 16 << 20}, Shape{3, (8 << 20) - 3}}) {
    const auto file = numbered(shape.elements());
    const Block memory = device.allocate(device.weight_bytes(shape, DType::kF8E4M3), "weight");
    const Weight weight = device.place(shape, DType::kF8E4M3, memory.data());
    const uint64_t half = file.size() / 2 + 1;
    device.upload(weight, 0, file.data(), half);
    device.upload(weight, half, &file[half], file.size() - half);
    expect_rows(device, weight, file);
  }
}

TEST_F(CudaDeviceTest, ScalesStandBehindTheRows) {
  CudaDevice device({}, host_);
  const Shape shape{300, 129};
  const Block memory = device.allocate(device.weight_bytes(shape, DType::kF8E4M3), "weight");
  const Weight weight = device.place(shape, DType::kF8E4M3, memory.data());
  ASSERT_NE(weight.scales, nullptr);
  EXPECT_EQ(weight.scale_stride, 2u);
  const auto scales_at = reinterpret_cast<const std::byte*>(weight.scales) - memory.data();
  EXPECT_EQ(scales_at % 256, 0);
  EXPECT_GE(static_cast<uint64_t>(scales_at), 300 * weight.stride);
  const std::vector<float> scales = {1, 2, 3, 4, 5, 6};
  const auto file = numbered(uint64_t{300} * 129);
  device.upload_scales(weight, scales.data());
  device.upload(weight, 0, file.data(), file.size());
  expect_rows(device, weight, file);
  const auto there = read_back(device, weight.scales, 6 * sizeof(float));
  EXPECT_EQ(std::memcmp(there.data(), scales.data(), there.size()), 0);
}

TEST_F(CudaDeviceTest, CeilingsAreKept) {
  Allocator small_host({}, 1000);
  CudaDevice device({.ceiling_bytes = 1 << 20}, small_host);
  const Block most = device.allocate(1000000, "most");
  EXPECT_TRUE(
      throws_error(Status::kLimit, {"the cache"}, [&] { device.allocate(100000, "the cache"); }));
  EXPECT_EQ(device.memory().bytes_held(), 1000000u);
  const Block rest = device.allocate(10000, "rest");
  const Block pinned = device.allocate_host(600, "results");
  EXPECT_TRUE(
      throws_error(Status::kLimit, {"biases"}, [&] { device.allocate_host(600, "biases"); }));
  EXPECT_EQ(device.pinned().bytes_held(), 600u);
}

TEST_F(CudaDeviceTest, MarkersSayWhenWorkIsDone) {
  CudaDevice device({}, host_);
  const Block block = device.allocate(8, "block");
  const Block host = device.allocate_host(16, "host");
  auto* numbers = reinterpret_cast<uint64_t*>(host.data());
  const auto marker = device.make_marker();
  device.wait(*marker);  // never marked: nothing to wait for
  for (uint64_t i = 1; i < 4; ++i) {
    numbers[0] = i;
    device.copy_to_device(block.data(), &numbers[0], 8);
    device.copy_to_host(&numbers[1], block.data(), 8);
    device.mark(*marker);
    device.wait(*marker);
    EXPECT_EQ(numbers[1], i);
  }
  device.fill_zero(block.data(), 8);
  device.copy_to_host(&numbers[1], block.data(), 8);
  device.synchronize();
  EXPECT_EQ(numbers[1], 0u);
}

TEST_F(CudaDeviceTest, ARecordingReadsMemoryWhenItIsReplayed) {
  Copying copying(0, host_);
  copying.set(1.0f);
  const auto recording = copying.device().record([&] { copying.enqueue(); });
  ASSERT_NE(recording, nullptr);
  EXPECT_EQ(copying.result(), 0.0f) << "recording runs nothing";
  for (const float value : {2.0f, 3.0f}) {
    copying.set(value);
    copying.device().replay(*recording);
    EXPECT_EQ(copying.result(), value);
  }
}

TEST_F(CudaDeviceTest, AFailedRecordingLeavesTheDeviceUsable) {
  Copying copying(0, host_);
  EXPECT_TRUE(throws_error(Status::kInternal, {"not today"}, [&] {
    copying.device().record([&] {
      copying.enqueue();
      fail(Status::kInternal, "not today");
    });
  }));
  // What a recording cannot hold is a defect, and refused before it does harm.
  for (const auto& forbidden : std::vector<std::function<void()>>{
           [&] { copying.device().synchronize(); }, [&] { copying.device().allocate(1, "late"); },
           [&] { copying.device().record([] {}); }}) {
    EXPECT_TRUE(throws_error(Status::kInternal, {"is_recording"},
                             [&] { copying.device().record(forbidden); }));
  }
  copying.set(5.0f);
  copying.enqueue();
  EXPECT_EQ(copying.result(), 5.0f);
}

// Each thread records, replays, allocates and waits on its own device.
TEST_F(CudaDeviceTest, TwoDevicesOnTwoThreads) {
  const auto work = [&](int ordinal) {
    Allocator host({}, 0);
    Copying copying(ordinal, host);
    for (uint32_t i = 1; i <= 20; ++i) {
      const auto recording = copying.device().record([&] {
        for (uint32_t n = 0; n < i; ++n) copying.enqueue();
      });
      const Block block = copying.device().allocate(uint64_t{100} * i, "block");
      const auto value = static_cast<float>(i);
      copying.set(value);
      copying.device().replay(*recording);
      ASSERT_EQ(copying.result(), value) << "device " << ordinal;
    }
  };
  std::thread first(work, 0);
  std::thread second(work, second_);
  first.join();
  second.join();
}

// One thread may serve two devices in turn.
TEST_F(CudaDeviceTest, TwoDevicesOnOneThread) {
  Copying a(0, host_);
  Copying b(second_, host_);
  for (uint32_t i = 1; i < 4; ++i) {
    a.set(static_cast<float>(i));
    b.set(static_cast<float>(10 * i));
    a.enqueue();
    b.enqueue();
    EXPECT_EQ(a.result(), static_cast<float>(i));
    EXPECT_EQ(b.result(), static_cast<float>(10 * i));
  }
  EXPECT_TRUE(
      throws_error(Status::kInternal, {"host memory"}, [&] { a.device().load({}, nullptr); }));
}

}  // namespace
}  // namespace dsv3::cuda_test
