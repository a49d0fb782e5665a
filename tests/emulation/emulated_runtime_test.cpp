// Goal: the emulated runtime is as late, as literal and as strict as CUDA may be: order, copies,
// events, recordings, memory, failures that stay. Method: every promise as a small host program.
#include <gmock/gmock.h>

#include <thread>

#include "emulation/emulation_fixture.h"

namespace dsv3::emulation_test {
namespace {

using testing::Each;
using testing::HasSubstr;

__global__ void add_kernel(int* data, const int* by) {
  data[blockIdx.x * blockDim.x + threadIdx.x] += by[0];
}
__global__ void add_value_kernel(int* data, int by) { data[threadIdx.x] += by; }

class EmulatedRuntimeTest : public EmulationTest {
 protected:
  static int* pinned(uint64_t count) {
    void* memory = nullptr;
    EXPECT_EQ(gpu::allocate_pinned(count * sizeof(int), &memory), 0);
    return static_cast<int*>(memory);
  }
};

TEST_F(EmulatedRuntimeTest, WorkIsDoneWhenTheHostWaits) {
  Array<int> data(stream_, 32, 1);
  Array<int> by(stream_, 1, 4);
  int* const result = pinned(32);
  for (int i = 0; i < 32; ++i) result[i] = 77;
  ASSERT_EQ(gpu::stream_wait(stream_), 0);
  kernels::launch(add_kernel, block(32), data.device(), by.device());
  ASSERT_EQ(gpu::copy_to_host(result, data.device(), 32 * sizeof(int), stream_), 0);
  EXPECT_EQ(emulator::counters().kernels, 0u);
  // Who reads too early finds neither the result nor what stood there before.
  EXPECT_THAT(std::vector<int>(result, result + 32), Each(-1));
  ASSERT_EQ(gpu::stream_wait(stream_), 0);
  EXPECT_THAT(std::vector<int>(result, result + 32), Each(5));
  EXPECT_EQ(emulator::counters().kernels, 1u);
  gpu::release_pinned(result);
}

TEST_F(EmulatedRuntimeTest, OrAtOnceWhenToldSo) {
  emulator::set_deferred(false);
  Array<int> data(stream_, 32, 1);
  Array<int> by(stream_, 1, 4);
  kernels::launch(add_kernel, block(32), data.device(), by.device());
  EXPECT_EQ(emulator::counters().kernels, 1u);
}

TEST_F(EmulatedRuntimeTest, BytesOfOrdinaryMemoryAreTakenAtTheCallThoseOfPinnedMemoryLater) {
  Array<int> data(stream_, 2);
  int ordinary = 1;
  int* const late = pinned(1);
  *late = 1;
  ASSERT_EQ(gpu::copy_to_device(data.device(), &ordinary, sizeof(int), stream_), 0);
  ASSERT_EQ(gpu::copy_to_device(data.device() + 1, late, sizeof(int), stream_), 0);
  ordinary = 2;
  *late = 2;
  EXPECT_EQ(data.download(), (std::vector<int>{1, 2}));
  gpu::release_pinned(late);
}

TEST_F(EmulatedRuntimeTest, AnEventIsReachedWithoutWhatCameAfter) {
  Array<int> data(stream_, 32, 0);
  int* const result = pinned(2);
  gpu::Event* event = nullptr;
  ASSERT_EQ(gpu::event_create(&event), 0);
  EXPECT_EQ(gpu::event_wait(event), 0);  // never recorded: reached
  kernels::launch(add_value_kernel, block(32), data.device(), 1);
  gpu::copy_to_host(&result[0], data.device(), sizeof(int), stream_);
  ASSERT_EQ(gpu::event_record(event, stream_), 0);
  kernels::launch(add_value_kernel, block(32), data.device(), 1);
  gpu::copy_to_host(&result[1], data.device(), sizeof(int), stream_);
  ASSERT_EQ(gpu::event_wait(event), 0);
  EXPECT_EQ(result[0], 1);
  EXPECT_EQ(result[1], -1);
  ASSERT_EQ(gpu::stream_wait(stream_), 0);
  EXPECT_EQ(result[1], 2);
  gpu::event_destroy(event);
  gpu::release_pinned(result);
}

TEST_F(EmulatedRuntimeTest, ARecordingKeepsArgumentsAndReadsMemoryAnew) {
  Array<int> data(stream_, 32, 0);
  Array<int> by(stream_, 1, 5);
  int* const input = pinned(1);
  int baked = 100;
  ASSERT_EQ(gpu::record_begin(stream_), 0);
  gpu::copy_to_device(by.device(), input, sizeof(int), stream_);
  kernels::launch(add_kernel, block(32), data.device(), by.device());
  kernels::launch(add_value_kernel, block(32), data.device(), baked);
  gpu::Graph* graph = nullptr;
  ASSERT_EQ(gpu::record_end(stream_, &graph), 0);
  baked = 1000;                           // too late: 100 is in the recording
  EXPECT_THAT(data.download(), Each(0));  // and nothing has run
  for (const int value : {7, 8}) {
    *input = value;
    ASSERT_EQ(gpu::graph_launch(graph, stream_), 0);
    ASSERT_EQ(gpu::stream_wait(stream_), 0);
  }
  EXPECT_THAT(data.download(), Each(7 + 8 + 200));
  EXPECT_EQ(emulator::counters().replays, 2u);
  EXPECT_EQ(emulator::counters().kernels, 4u);
  ASSERT_EQ(gpu::graph_launch(graph, stream_), 0);
  gpu::graph_destroy(graph);  // while its replay is under way
  EXPECT_THAT(data.download(), Each(7 + 8 + 8 + 300));
  gpu::release_pinned(input);
}

TEST_F(EmulatedRuntimeTest, WhatAThreadThatRecordsMayNotDo) {
  void* memory = nullptr;
  gpu::Event* event = nullptr;
  ASSERT_EQ(gpu::event_create(&event), 0);
  ASSERT_EQ(gpu::record_begin(stream_), 0);
  EXPECT_THAT(failure(), HasSubstr("a wait on a thread that records"));
  EXPECT_THAT(gpu::error_text(gpu::event_record(event, stream_)), HasSubstr("that records"));
  EXPECT_THAT(gpu::error_text(gpu::allocate(16, &memory)), HasSubstr("that records"));
  EXPECT_THAT(gpu::error_text(gpu::record_begin(stream_)), HasSubstr("records already"));
  gpu::Graph* graph = nullptr;
  ASSERT_EQ(gpu::record_end(stream_, &graph), 0);
  EXPECT_EQ(gpu::graph_destroy(graph), 0);
  EXPECT_THAT(gpu::error_text(gpu::record_end(stream_, &graph)), HasSubstr("does not record"));
  EXPECT_EQ(graph, nullptr);
  gpu::event_destroy(event);
}

TEST_F(EmulatedRuntimeTest, MemoryIsCountedAndLimited) {
  emulator::set_memory(1000);
  void* first = nullptr;
  void* second = nullptr;
  ASSERT_EQ(gpu::allocate(600, &first), 0);
  EXPECT_EQ(static_cast<unsigned char*>(first)[599], 0xff);
  EXPECT_EQ(emulator::live_bytes(0), 600u);
  EXPECT_TRUE(gpu::is_out_of_memory(gpu::allocate(401, &second)));
  EXPECT_EQ(second, nullptr);
  uint64_t free_bytes = 0;
  uint64_t total_bytes = 0;
  ASSERT_EQ(gpu::memory_info(0, &free_bytes, &total_bytes), 0);
  EXPECT_EQ(free_bytes, 400u);
  EXPECT_EQ(total_bytes, 1000u);
  ASSERT_EQ(gpu::use_device(1), 0);
  EXPECT_EQ(gpu::allocate(1000, &second), 0);  // the other device has its own
  ASSERT_EQ(gpu::use_device(0), 0);
  EXPECT_EQ(gpu::release(first), 0);
  EXPECT_EQ(gpu::release(second), 0);
  EXPECT_EQ(emulator::live_bytes(0) + emulator::live_bytes(1), 0u);
}

TEST_F(EmulatedRuntimeTest, TheNthAllocationFails) {
  void* memory[3] = {};
  emulator::fail_allocation(2);
  EXPECT_EQ(gpu::allocate(16, &memory[0]), 0);
  EXPECT_TRUE(gpu::is_out_of_memory(gpu::allocate_pinned(16, &memory[1])));
  EXPECT_EQ(gpu::allocate_pinned(16, &memory[2]), 0);
  EXPECT_EQ(gpu::stream_wait(stream_), 0);  // and the device goes on
  gpu::release(memory[0]);
  gpu::release_pinned(memory[2]);
}

TEST_F(EmulatedRuntimeTest, MemoryThatIsNotThere) {
  void* memory = nullptr;
  ASSERT_EQ(gpu::allocate(64, &memory), 0);
  int host[32] = {};
  auto* const device = static_cast<std::byte*>(memory);
  EXPECT_THAT(gpu::error_text(gpu::release_pinned(memory)), HasSubstr("no live pinned"));
  EXPECT_THAT(gpu::error_text(gpu::copy_to_device(device + 1, host, 64, stream_)),
              HasSubstr("reaches beyond its device allocation"));
  EXPECT_THAT(gpu::error_text(gpu::copy_to_host(host, host, 64, stream_)),
              HasSubstr("reaches beyond its device allocation"));
  EXPECT_THAT(gpu::error_text(gpu::copy_to_device(device, device + 8, 8, stream_)),
              HasSubstr("whose host address is device memory"));
  EXPECT_EQ(gpu::release(memory), 0);
  EXPECT_THAT(gpu::error_text(gpu::release(memory)), HasSubstr("released twice"));
  EXPECT_EQ(gpu::stream_wait(stream_), 0);
}

TEST_F(EmulatedRuntimeTest, ReleaseLetsTheDeviceFinishFirst) {
  void* memory = nullptr;
  ASSERT_EQ(gpu::allocate(32 * sizeof(int), &memory), 0);
  ASSERT_EQ(gpu::fill_zero(memory, 32 * sizeof(int), stream_), 0);
  kernels::launch(add_value_kernel, block(32), static_cast<int*>(memory), 3);
  EXPECT_EQ(gpu::release(memory), 0);
  EXPECT_EQ(emulator::counters().kernels, 1u);
}

TEST_F(EmulatedRuntimeTest, AFailureStaysUntilReset) {
  Array<int> data(stream_, 32, 0);
  emulator::fail_launch(2);
  for (int i = 0; i < 3; ++i) kernels::launch(add_value_kernel, block(32), data.device(), 1);
  const int error = gpu::stream_wait(stream_);
  EXPECT_THAT(gpu::error_text(error), HasSubstr("told to fail"));
  EXPECT_FALSE(gpu::is_out_of_memory(error));
  void* memory = nullptr;
  EXPECT_EQ(gpu::allocate(16, &memory), error);
  EXPECT_EQ(gpu::stream_wait(stream_), error);
  EXPECT_EQ(kernels::launch(add_value_kernel, block(32), data.device(), 1), error);
  ASSERT_EQ(gpu::use_device(1), 0);
  EXPECT_EQ(gpu::allocate(16, &memory), 0);  // the other device works
  EXPECT_EQ(gpu::release(memory), 0);
  ASSERT_EQ(gpu::use_device(0), 0);
  emulator::reset();
  EXPECT_THAT(data.download(), Each(1));
}

TEST_F(EmulatedRuntimeTest, AStreamBelongsToItsDevice) {
  ASSERT_EQ(gpu::use_device(1), 0);
  EXPECT_THAT(failure(), HasSubstr("a stream of device 0 used while device 1"));
  ASSERT_EQ(gpu::use_device(0), 0);
  EXPECT_NE(gpu::use_device(2), 0);
}

TEST_F(EmulatedRuntimeTest, PropertiesAndCount) {
  emulator::set_capability(8, 9);
  emulator::set_multiprocessors(132);
  gpu::Properties found;
  ASSERT_EQ(gpu::properties(1, &found), 0);
  EXPECT_EQ(found.name, "Emulated GPU");
  EXPECT_EQ(found.major * 10 + found.minor, 89);
  EXPECT_EQ(found.multiprocessors, 132);
  EXPECT_EQ(found.shared_bytes_max, 99u * 1024);
  std::string why;
  EXPECT_EQ(gpu::device_count(&why), 2);
  emulator::set_device_count(0);
  EXPECT_EQ(gpu::device_count(&why), 0);
  EXPECT_THAT(why, HasSubstr("no GPU"));
}

// Each thread with a device and a stream of its own.
void count_up(int ordinal, int rounds, int* sum) {
  gpu::Stream* stream = nullptr;
  EXPECT_EQ(gpu::use_device(ordinal), 0);
  EXPECT_EQ(gpu::stream_create(false, &stream), 0);
  {
    Array<int> data(stream, 64, 0);
    Array<int> by(stream, 1, ordinal + 1);
    for (int i = 0; i < rounds; ++i) {
      const kernels::Launch where = {.blocks = {2}, .threads = 32, .stream = stream};
      EXPECT_EQ(kernels::launch(add_kernel, where, data.device(), by.device()), 0);
    }
    *sum = data.download()[63];
  }
  EXPECT_EQ(gpu::stream_destroy(stream), 0);
}

TEST_F(EmulatedRuntimeTest, TwoThreadsAtTheSameTime) {
  int sums[4] = {};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) threads.emplace_back(count_up, t % 2, 50, &sums[t]);
  for (std::thread& thread : threads) thread.join();
  for (int t = 0; t < 4; ++t) EXPECT_EQ(sums[t], 50 * (t % 2 + 1));
}

}  // namespace
}  // namespace dsv3::emulation_test
