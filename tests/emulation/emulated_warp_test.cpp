// Goal: warp collectives give what CUDA's documentation says, and misuse is named. Method: small
// kernels against the formula in plain C++, in several thread orders.
#include <gmock/gmock.h>

#include "emulation/emulation_fixture.h"
#include "kernels/common/warp.h"

namespace dsv3::emulation_test {
namespace {

using testing::HasSubstr;

constexpr uint32_t kThreads = 96;
constexpr uint64_t kOrders[] = {0, 1, 7};

class EmulatedWarpTest : public EmulationTest {};

__global__ void shuffle_kernel(uint32_t* out, int lanes, int width) {
  const uint32_t own = 1000 * (threadIdx.x / 32) + threadIdx.x % 32;
  uint32_t* const row = out + threadIdx.x * 4;
  row[0] = __shfl_sync(~0u, own, lanes, width);
  row[1] = __shfl_xor_sync(~0u, own, lanes, width);
  row[2] = __shfl_up_sync(~0u, own, static_cast<unsigned>(lanes), width);
  row[3] = __shfl_down_sync(~0u, own, static_cast<unsigned>(lanes), width);
}

// The four sources by the words of CUDA's guide: segments of `width` lanes; up and down keep their
// own value at the segment's edge; xor may reach into earlier segments only.
void expect_shuffled(const uint32_t* row, uint32_t thread, int lanes, int width) {
  const int lane = static_cast<int>(thread % 32);
  const int segment = lane / width * width;
  const auto value = [&](int source) {
    return 1000 * (thread / 32) + static_cast<uint32_t>(source);
  };
  EXPECT_EQ(row[0], value(segment + lanes % width));
  const int other = lane ^ lanes;
  EXPECT_EQ(row[1], value(other / width * width > segment ? lane : other));
  EXPECT_EQ(row[2], value(lane - lanes < segment ? lane : lane - lanes));
  EXPECT_EQ(row[3], value(lane + lanes >= segment + width ? lane : lane + lanes));
}

TEST_F(EmulatedWarpTest, ShufflesOfAllWidths) {
  for (const uint64_t order : kOrders) {
    emulator::set_thread_order(order);
    for (const int width : {2, 8, 32}) {
      for (const int lanes : {0, 1, 5, 16, 31}) {
        Array<uint32_t> out(stream_, kThreads * 4);
        ASSERT_EQ(kernels::launch(shuffle_kernel, block(kThreads), out.device(), lanes, width), 0);
        out.download();
        for (uint32_t t = 0; t < kThreads; ++t) {
          SCOPED_TRACE(testing::Message() << "thread " << t << " lanes " << lanes << " width "
                                          << width << " order " << order);
          expect_shuffled(&out.host()[t * 4], t, lanes, width);
        }
      }
    }
  }
}

__global__ void wide_shuffle_kernel(double* doubles, unsigned long long* words, float* floats) {
  const uint32_t t = threadIdx.x;
  doubles[t] = __shfl_xor_sync(~0u, doubles[t], 1);
  words[t] = __shfl_xor_sync(~0u, words[t], 2);
  floats[t] = __shfl_xor_sync(~0u, floats[t], 4);
}

TEST_F(EmulatedWarpTest, ShufflesKeepAllBits) {
  Array<double> doubles(stream_, 32);
  Array<unsigned long long> words(stream_, 32);
  Array<float> floats(stream_, 32);
  for (uint32_t i = 0; i < 32; ++i) {
    doubles.host()[i] = 1.0 / (3 + i);
    words.host()[i] = 0x0123456789abcdefull * (i + 1);
    floats.host()[i] = -1.0f / static_cast<float>(3 + i);
  }
  doubles.upload();
  words.upload();
  floats.upload();
  ASSERT_EQ(kernels::launch(wide_shuffle_kernel, block(32), doubles.device(), words.device(),
                            floats.device()),
            0);
  doubles.download();
  words.download();
  floats.download();
  for (uint32_t i = 0; i < 32; ++i) {
    EXPECT_EQ(doubles.host()[i], 1.0 / (3 + (i ^ 1)));
    EXPECT_EQ(words.host()[i], 0x0123456789abcdefull * ((i ^ 2) + 1));
    EXPECT_EQ(floats.host()[i], -1.0f / static_cast<float>(3 + (i ^ 4)));
  }
}

__global__ void vote_kernel(const uint32_t* mask, uint32_t* out) {
  const uint32_t t = threadIdx.x;
  if ((mask[0] >> t & 1u) == 0) return;
  out[t * 6 + 0] = __ballot_sync(mask[0], t % 3 == 0);
  out[t * 6 + 1] = static_cast<uint32_t>(__any_sync(mask[0], t == 30));
  out[t * 6 + 2] = static_cast<uint32_t>(__all_sync(mask[0], t < 30));
  out[t * 6 + 3] = __reduce_add_sync(mask[0], t + 5);
  out[t * 6 + 4] = __reduce_max_sync(mask[0], (t * 7) % 32);
  out[t * 6 + 5] = __reduce_min_sync(mask[0], (t * 7 + 3) % 32);
}

TEST_F(EmulatedWarpTest, VotesAndReductionsOfAMask) {
  for (const uint32_t mask : {0xffffffffu, 0x0000ffffu, 0x80000001u, 0x12345678u, 0x40000000u}) {
    Array<uint32_t> mask_array(stream_, 1, mask);
    Array<uint32_t> out(stream_, 32 * 6, 77);
    ASSERT_EQ(kernels::launch(vote_kernel, block(32), mask_array.device(), out.device()), 0);
    out.download();
    uint32_t want[6] = {0, 0, 1, 0, 0, ~0u};
    for (uint32_t t = 0; t < 32; ++t) {
      if ((mask >> t & 1u) == 0) continue;
      if (t % 3 == 0) want[0] |= 1u << t;
      if (t == 30) want[1] = 1;
      if (t >= 30) want[2] = 0;
      want[3] += t + 5;
      want[4] = std::max(want[4], t * 7 % 32);
      want[5] = std::min(want[5], (t * 7 + 3) % 32);
    }
    for (uint32_t i = 0; i < 32 * 6; ++i) {
      EXPECT_EQ(out.host()[i], (mask >> i / 6 & 1u) == 0 ? 77 : want[i % 6]) << mask << " " << i;
    }
  }
}

// Two halves of a warp, each with its own mask and its own number of collectives.
__global__ void halves_kernel(uint32_t* out) {
  const uint32_t t = threadIdx.x;
  const uint32_t mask = t < 16 ? 0x0000ffffu : 0xffff0000u;
  uint32_t sum = t;
  for (uint32_t i = 0; i < (t < 16 ? 3 : 8); ++i) sum += __shfl_xor_sync(mask, t, 1);
  __syncwarp();
  out[t] = sum;
}

TEST_F(EmulatedWarpTest, DisjointMasksDoNotMeet) {
  Array<uint32_t> out(stream_, 32);
  ASSERT_EQ(kernels::launch(halves_kernel, block(32), out.device()), 0);
  out.download();
  for (uint32_t t = 0; t < 32; ++t) EXPECT_EQ(out.host()[t], t + (t < 16 ? 3 : 8) * (t ^ 1));
}

__global__ void sum_kernel(float* out) {
  float* const slots = &kernels::shared_memory<float>();
  out[threadIdx.x] = kernels::block_sum(static_cast<float>(threadIdx.x), slots);
  out[threadIdx.x] += kernels::block_max(static_cast<float>(threadIdx.x), slots);
}

TEST_F(EmulatedWarpTest, ReductionsOfKernelsCommon) {
  for (const uint64_t order : kOrders) {
    emulator::set_thread_order(order);
    Array<float> out(stream_, 256);
    ASSERT_EQ(kernels::launch(sum_kernel, block(256, 8 * sizeof(float)), out.device()), 0);
    EXPECT_THAT(out.download(), testing::Each(255.0f * 128.0f + 255.0f));
  }
}

// --- misuse

__global__ void foreign_lane_kernel() { __ballot_sync(0x0000ffffu, 1); }
__global__ void outside_mask_kernel() {
  if (threadIdx.x < 8) __shfl_sync(0xffu, 1, 9);
}
__global__ void two_masks_kernel() {
  __ballot_sync(threadIdx.x < 3 ? 0xffffffffu : 0xfffffff1u, 1);
}
__global__ void two_operations_kernel() {
  if (threadIdx.x == 5) {
    __syncwarp();
  } else {
    __ballot_sync(~0u, 1);
  }
}
__global__ void ended_lane_kernel() {
  if (threadIdx.x == 40) return;
  __ballot_sync(~0u, 1);
}

TEST_F(EmulatedWarpTest, LaneNotInItsMask) {
  kernels::launch(foreign_lane_kernel, block(32));
  EXPECT_THAT(failure(), HasSubstr("not in its own mask 0000ffff"));
}
TEST_F(EmulatedWarpTest, ShuffleFromOutsideTheMask) {
  kernels::launch(outside_mask_kernel, block(32));
  EXPECT_THAT(failure(), HasSubstr("reads lane 9, which is not in the mask 000000ff"));
}
TEST_F(EmulatedWarpTest, LanesWithDifferentMasks) {
  kernels::launch(two_masks_kernel, block(32));
  EXPECT_THAT(failure(), HasSubstr("divergent warp"));
}
TEST_F(EmulatedWarpTest, LanesAtDifferentOperations) {
  kernels::launch(two_operations_kernel, block(32));
  EXPECT_THAT(failure(), HasSubstr("divergent warp"));
}
TEST_F(EmulatedWarpTest, MaskNamesALaneThatEnds) {
  for (const uint64_t order : kOrders) {
    emulator::reset();
    emulator::set_thread_order(order);
    kernels::launch(ended_lane_kernel, block(64));
    // Lane 8 ends before or after the others arrive.
    EXPECT_THAT(failure(), testing::AnyOf(HasSubstr("names lanes 00000100, which have ended"),
                                          HasSubstr("only lanes fffffeff arrived")));
  }
}

}  // namespace
}  // namespace dsv3::emulation_test
