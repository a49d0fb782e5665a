// Goal: blocks behave as on a GPU and what a GPU leaves undefined is reported: barriers, shared
// memory, cp.async, atomics, launches. Method: small kernels that are right or wrong in one way.
#include <gmock/gmock.h>

#include <numeric>

#include "emulation/emulation_fixture.h"
#include "kernels/common/async_copy.h"

namespace dsv3::emulation_test {
namespace {

using testing::AllOf;
using testing::Each;
using testing::HasSubstr;

class EmulatedBlockTest : public EmulationTest {};

__global__ void reverse_kernel(const int* in, int* out) {
  int* const slots = &kernels::shared_memory<int>();
  const uint32_t at = blockIdx.x * blockDim.x + threadIdx.x;
  for (int round = 0; round < 3; ++round) {
    slots[threadIdx.x] = in[at] + round;
    __syncthreads();
    out[at] = slots[blockDim.x - 1 - threadIdx.x];
    __syncthreads();
  }
}

TEST_F(EmulatedBlockTest, BarriersInEveryOrder) {
  constexpr uint32_t kThreads = 192;
  constexpr uint32_t kBlocks = 3;
  Array<int> in(stream_, kThreads * kBlocks);
  std::iota(in.host().begin(), in.host().end(), 0);
  in.upload();
  for (uint64_t order = 0; order < 20; ++order) {
    emulator::set_thread_order(order);
    Array<int> out(stream_, kThreads * kBlocks);
    kernels::Launch where = block(kThreads, kThreads * sizeof(int));
    where.blocks.x = kBlocks;
    ASSERT_EQ(kernels::launch(reverse_kernel, where, in.device(), out.device()), 0);
    out.download();
    for (uint32_t i = 0; i < kThreads * kBlocks; ++i) {
      const uint32_t base = i / kThreads * kThreads;
      ASSERT_EQ(out.host()[i], static_cast<int>(base + kThreads - 1 - (i - base)) + 2);
    }
  }
}

__global__ void index_kernel(uint32_t* out) {
  const uint32_t flat = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  out[flat * blockDim.x + threadIdx.x] = blockIdx.x + 10 * blockIdx.y + 100 * blockIdx.z;
}

TEST_F(EmulatedBlockTest, IndicesOfAGrid) {
  Array<uint32_t> out(stream_, 2 * 3 * 4 * 32);
  kernels::Launch where = block(32);
  where.blocks = {2, 3, 4};
  ASSERT_EQ(kernels::launch(index_kernel, where, out.device()), 0);
  out.download();
  for (uint32_t i = 0; i < out.host().size(); ++i) {
    const uint32_t flat = i / 32;
    EXPECT_EQ(out.host()[i], flat % 2 + 10 * (flat / 2 % 3) + 100 * (flat / 6));
  }
}

__global__ void order_kernel(unsigned* ticket, unsigned* out) {
  out[threadIdx.x] = atomicAdd(ticket, 1u);
}

TEST_F(EmulatedBlockTest, OrderOfThreadsFollowsTheSeed) {
  const auto order_of = [&](uint64_t seed) {
    emulator::set_thread_order(seed);
    Array<unsigned> ticket(stream_, 1);
    Array<unsigned> out(stream_, 64);
    EXPECT_EQ(kernels::launch(order_kernel, block(64), ticket.device(), out.device()), 0);
    return out.download();
  };
  const auto ascending = order_of(0);
  for (uint32_t i = 0; i < 64; ++i) EXPECT_EQ(ascending[i], i);
  const auto first = order_of(1);
  EXPECT_NE(first, ascending);
  EXPECT_NE(first, order_of(1));  // the next launch has another order
}

__global__ void stale_kernel(uint32_t* out) {
  uint32_t* const slots = &kernels::shared_memory<uint32_t>();
  out[blockIdx.x * blockDim.x + threadIdx.x] = slots[threadIdx.x];
  __syncthreads();
  slots[threadIdx.x] = 1;
}

TEST_F(EmulatedBlockTest, SharedMemoryStartsAsNanInEveryBlock) {
  Array<uint32_t> out(stream_, 64);
  kernels::Launch where = block(32, 32 * sizeof(uint32_t));
  where.blocks.x = 2;
  ASSERT_EQ(kernels::launch(stale_kernel, where, out.device()), 0);
  EXPECT_THAT(out.download(), Each(0xffffffffu));
}

__global__ void count_kernel(int* out) {
  const bool odd = threadIdx.x % 2 != 0;
  out[threadIdx.x * 3 + 0] = __syncthreads_count(odd);
  out[threadIdx.x * 3 + 1] = __syncthreads_or(threadIdx.x == 70);
  out[threadIdx.x * 3 + 2] = __syncthreads_and(threadIdx.x < 70);
}

TEST_F(EmulatedBlockTest, BarriersThatVote) {
  Array<int> out(stream_, 128 * 3);
  ASSERT_EQ(kernels::launch(count_kernel, block(128), out.device()), 0);
  out.download();
  for (uint32_t t = 0; t < 128; ++t) {
    EXPECT_EQ(out.host()[t * 3], 64);
    EXPECT_EQ(out.host()[t * 3 + 1], 1);
    EXPECT_EQ(out.host()[t * 3 + 2], 0);
  }
}

struct Atomics {
  int sum;
  unsigned top;
  unsigned bottom;
  unsigned long long wide;
  float real;
  unsigned swapped;
  unsigned claimed;
};

__global__ void atomic_kernel(Atomics* at) {
  const unsigned t = blockIdx.x * blockDim.x + threadIdx.x;
  atomicAdd(&at->sum, -2);
  atomicMax(&at->top, t);
  atomicMin(&at->bottom, t);
  atomicAdd(&at->wide, 1ull << 33);
  atomicAdd(&at->real, 0.5f);
  atomicExch(&at->swapped, 9u);
  if (atomicCAS(&at->claimed, 0u, 1u) == 0) atomicAdd(&at->claimed, 10u);
}

TEST_F(EmulatedBlockTest, Atomics) {
  Array<Atomics> out(stream_, 1, Atomics{.bottom = 1000});
  kernels::Launch where = block(64);
  where.blocks.x = 4;
  ASSERT_EQ(kernels::launch(atomic_kernel, where, out.device()), 0);
  const Atomics result = out.download()[0];
  EXPECT_EQ(result.sum, -512);
  EXPECT_EQ(result.top, 255u);
  EXPECT_EQ(result.bottom, 0u);
  EXPECT_EQ(result.wide, 256ull << 33);
  EXPECT_EQ(result.real, 128.0f);
  EXPECT_EQ(result.swapped, 9u);
  EXPECT_EQ(result.claimed, 11u);
}

// --- cp.async

// Copies two groups of 16 bytes a thread and reads `shared` at three moments.
__global__ void copy_kernel(const uint4* in, uint32_t* out) {
  uint4* const slots = &kernels::shared_memory<uint4>();
  const uint32_t t = threadIdx.x;
  const auto read = [&](uint32_t slot) { return slots[slot * blockDim.x + t].y; };
  kernels::async_copy16(&slots[t], &in[t]);
  kernels::async_commit();
  kernels::async_copy16(&slots[blockDim.x + t], nullptr, false);
  kernels::async_commit();
  out[t * 5 + 0] = read(0);
  kernels::async_wait<1>();
  out[t * 5 + 1] = read(0);
  out[t * 5 + 2] = read(1);
  kernels::async_wait<0>();
  out[t * 5 + 3] = read(1);
  __syncthreads();
  out[t * 5 + 4] = slots[blockDim.x - 1 - t].y;
}

TEST_F(EmulatedBlockTest, CopiesArriveWhenWaitedForAndNotBefore) {
  Array<uint4> in(stream_, 64);
  for (uint32_t i = 0; i < 64; ++i) in.host()[i] = make_uint4(0, 100 + i, 0, 0);
  in.upload();
  Array<uint32_t> out(stream_, 64 * 5);
  ASSERT_EQ(
      kernels::launch(copy_kernel, block(64, 2 * 64 * sizeof(uint4)), in.device(), out.device()),
      0);
  out.download();
  for (uint32_t t = 0; t < 64; ++t) {
    EXPECT_EQ(out.host()[t * 5 + 0], 0xffffffffu);
    EXPECT_EQ(out.host()[t * 5 + 1], 100 + t);
    EXPECT_EQ(out.host()[t * 5 + 2], 0xffffffffu);
    EXPECT_EQ(out.host()[t * 5 + 3], 0u);
    EXPECT_EQ(out.host()[t * 5 + 4], 100 + 63 - t);
  }
}

__global__ void crooked_copy_kernel(const unsigned char* in) {
  kernels::async_copy16(&kernels::shared_memory<unsigned char>(), in + 8);
  kernels::async_commit();
  kernels::async_wait<0>();
}
__global__ void forgotten_copy_kernel(const unsigned char* in) {
  kernels::async_copy16(&kernels::shared_memory<unsigned char>(), in);
  kernels::async_commit();
}

TEST_F(EmulatedBlockTest, CopyFromAMisalignedAddress) {
  Array<unsigned char> in(stream_, 64);
  kernels::launch(crooked_copy_kernel, block(32, 16), in.device());
  EXPECT_THAT(failure(), HasSubstr("wanted addresses aligned to 16 bytes"));
}
TEST_F(EmulatedBlockTest, CopyThatNobodyWaitsFor) {
  Array<unsigned char> in(stream_, 64);
  kernels::launch(forgotten_copy_kernel, block(32, 16), in.device());
  EXPECT_THAT(failure(), HasSubstr("ended with 1 cp.async outstanding"));
}

// --- divergence

__global__ void some_ended_kernel() {
  if (threadIdx.x >= 48) return;
  __syncthreads();
}
__global__ void two_barriers_kernel() {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}
__global__ void barrier_and_warp_kernel() {
  if (threadIdx.x == 33) __syncthreads();
  __syncwarp();
  __syncthreads();
}

TEST_F(EmulatedBlockTest, BarrierAfterSomeHaveEnded) {
  for (const uint64_t order : {0, 1, 2, 3}) {
    emulator::reset();
    emulator::set_thread_order(order);
    kernels::launch(some_ended_kernel, block(64));
    EXPECT_THAT(failure(), AllOf(HasSubstr("emulated_block_test"), HasSubstr("block (0,0,0)"),
                                 HasSubstr("divergent __syncthreads")));
  }
}
TEST_F(EmulatedBlockTest, ThreadsAtTwoBarriers) {
  kernels::launch(two_barriers_kernel, block(64));
  EXPECT_THAT(failure(), AllOf(HasSubstr("divergent __syncthreads: this thread at"),
                               HasSubstr("emulated_block_test.cpp:")));
}
TEST_F(EmulatedBlockTest, OneAtTheBarrierWhileItsWarpWaits) {
  kernels::launch(barrier_and_warp_kernel, block(64));
  EXPECT_THAT(failure(), HasSubstr("divergent"));
}

// What the frames of a kernel hold is given back when a fault ends it.
struct Guard {
  explicit Guard(int* count) : count_(count) { atomicAdd(count_, 1); }
  ~Guard() { atomicAdd(count_, -1); }
  int* count_;
};
__global__ void guarded_kernel(int* count) {
  const Guard guard(count);
  if (threadIdx.x == 20) return;
  __syncthreads();
}

TEST_F(EmulatedBlockTest, AFaultUnwindsEveryThread) {
  emulator::set_thread_order(0);
  int count = 0;
  kernels::launch(guarded_kernel, block(64), &count);
  EXPECT_THAT(failure(), HasSubstr("divergent"));
  EXPECT_EQ(count, 0);
  emulator::reset();
  Array<int> in(stream_, 64, 5);
  Array<int> out(stream_, 64);
  ASSERT_EQ(kernels::launch(reverse_kernel, block(64, 256), in.device(), out.device()), 0);
  EXPECT_THAT(out.download(), Each(7));  // and the emulator goes on
}

// --- launches

__global__ void idle_kernel() {}
__global__ void greedy_kernel() { kernels::shared_memory<uint4>().x = 0; }

TEST_F(EmulatedBlockTest, LaunchesThatAGpuRefuses) {
  const auto refused = [&](const kernels::Launch& where) {
    const std::string text = gpu::error_text(kernels::launch(idle_kernel, where));
    EXPECT_EQ(text, failure());  // and stays
    emulator::reset();
    return text;
  };
  kernels::Launch where = block(32);
  where.blocks.y = 0;
  EXPECT_THAT(refused(where), HasSubstr("a grid of 1 x 0 x 1 blocks"));
  where.blocks.y = 65536;
  EXPECT_THAT(refused(where), HasSubstr("a grid of 1 x 65536 x 1 blocks"));
  EXPECT_THAT(refused(block(0)), HasSubstr("blocks of 0 threads"));
  EXPECT_THAT(refused(block(1056)), HasSubstr("blocks of 1056 threads"));
  EXPECT_THAT(refused(block(33)), HasSubstr("blocks of 33 threads"));
  EXPECT_THAT(refused(block(32, 227 * 1024 + 1)), HasSubstr("this device has 232448"));
  EXPECT_THAT(refused({}), HasSubstr("no stream"));
  emulator::set_capability(8, 9);
  EXPECT_THAT(refused(block(32, 99 * 1024 + 1)), HasSubstr("this device has 101376"));
  EXPECT_EQ(kernels::launch(idle_kernel, block(1024, 227 * 1024)), 0);
}

TEST_F(EmulatedBlockTest, ArenaSmallerThanWhatTheKernelReads) {
  kernels::launch(greedy_kernel, block(32, 8));
  EXPECT_THAT(failure(), HasSubstr("shared_memory of 16 bytes, the launch gave 8"));
}

__global__ void trap_kernel() {
  if (blockIdx.x == 3 && threadIdx.x == 9) __trap();
}

TEST_F(EmulatedBlockTest, AFaultNamesKernelBlockAndThread) {
  kernels::Launch where = block(32);
  where.blocks.x = 5;
  kernels::launch(trap_kernel, where);
  EXPECT_THAT(failure(), AllOf(HasSubstr("kernel of emulated_block_test"),
                               HasSubstr("block (3,0,0)"), HasSubstr("thread 9: __trap")));
}

}  // namespace
}  // namespace dsv3::emulation_test
