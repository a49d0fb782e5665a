// Goal: ceilings hold, counts return to zero, and a failing source is an error with the figures in
// it. Method: hooks that count, refuse and misalign; a race of many threads against one ceiling.
#include "base/allocator.h"

#include <atomic>
#include <cstdlib>
#include <limits>
#include <thread>
#include <utility>
#include <vector>

#include "base/platform.h"
#include "support/expect_error.h"

namespace dsv3 {
namespace {

struct CountingHost {
  uint64_t live = 0;
  uint64_t bytes_live = 0;
  uint64_t misalign = 0;
  bool refuse = false;

  Allocator::Hook hook() {
    return {[](void* self, uint64_t bytes, uint64_t alignment) -> void* {
              auto& host = *static_cast<CountingHost*>(self);
              if (host.refuse) return nullptr;
              ++host.live;
              host.bytes_live += bytes;
              auto* block = static_cast<std::byte*>(
                  platform_aligned_allocate(bytes + host.misalign, alignment));
              return block + host.misalign;
            },
            [](void* self, void* block, uint64_t bytes) {
              auto& host = *static_cast<CountingHost*>(self);
              --host.live;
              host.bytes_live -= bytes;
              platform_aligned_release(static_cast<std::byte*>(block) - host.misalign);
            },
            this};
  }
};

TEST(Allocator, CountsAndAlignsHeapBlocks) {
  Allocator allocator({}, 0);
  {
    const Block a(allocator, 100, "a");
    const Block b(allocator, 1, "b", 4096);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(a.data()) % 64, 0u);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(b.data()) % 4096, 0u);
    EXPECT_EQ(allocator.bytes_held(), 101u);
  }
  EXPECT_EQ(allocator.bytes_held(), 0u);
  EXPECT_EQ(allocator.bytes_peak(), 101u);
}

TEST(Allocator, HoldsTheCeilingExactly) {
  Allocator allocator({}, 1000);
  Block a(allocator, 600, "weights");
  EXPECT_TRUE(throws_error(Status::kLimit, {"cache pages", "401", "600 held", "1000"},
                           [&] { Block(allocator, 401, "cache pages"); }));
  const Block b(allocator, 400, "cache pages");
  EXPECT_EQ(allocator.bytes_held(), 1000u);
  EXPECT_TRUE(throws_error(Status::kLimit, {"x", "18446744073709551615"},
                           [&] { Block(allocator, std::numeric_limits<uint64_t>::max(), "x"); }));
  a = Block();
  EXPECT_EQ(allocator.bytes_held(), 400u);
}

TEST(Allocator, CeilingHoldsAgainstManyThreads) {
  Allocator allocator({}, 10 * 64);
  std::atomic<uint64_t> refused{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 500; ++round) {
        try {
          const Block a(allocator, 3 * 64, "a");
          const Block b(allocator, 3 * 64, "b");
        } catch (const Error&) {
          ++refused;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(allocator.bytes_held(), 0u);
  EXPECT_LE(allocator.bytes_peak(), 10u * 64);
}

TEST(Allocator, UsesTheHostsHookAndReportsItsRefusal) {
  CountingHost host;
  Allocator allocator(host.hook(), 0);
  {
    const Block a(allocator, 300, "a");
    EXPECT_EQ(host.bytes_live, 300u);
    host.refuse = true;
    EXPECT_TRUE(throws_error(Status::kOutOfMemory, {"b", "the host refused 200", "300 bytes held"},
                             [&] { Block(allocator, 200, "b"); }));
    EXPECT_EQ(allocator.bytes_held(), 300u);
  }
  EXPECT_EQ(host.live, 0u);
}

TEST(Allocator, GivesBackAMisalignedHostBlock) {
  CountingHost host;
  host.misalign = 8;
  Allocator allocator(host.hook(), 0);
  EXPECT_TRUE(throws_error(Status::kInvalidArgument, {"a", "not aligned to 64"},
                           [&] { Block(allocator, 300, "a"); }));
  EXPECT_EQ(host.live, 0u);
  EXPECT_EQ(allocator.bytes_held(), 0u);
}

TEST(Allocator, RefusesHalfAHook) {
  CountingHost host;
  Allocator::Hook hook = host.hook();
  hook.release = nullptr;
  EXPECT_TRUE(throws_error(Status::kInvalidArgument, {"release"}, [&] { Allocator(hook, 0); }));
}

TEST(Block, MovesItsMemory) {
  Allocator allocator({}, 0);
  Block a(allocator, 64, "a");
  std::byte* const data = a.data();
  Block b(std::move(a));
  EXPECT_EQ(b.data(), data);
  Block c(allocator, 128, "c");
  c = std::move(b);
  EXPECT_EQ(c.data(), data);
  EXPECT_EQ(c.bytes(), 64u);
  EXPECT_EQ(allocator.bytes_held(), 64u);
  const Block empty(allocator, 0, "empty");
  EXPECT_EQ(empty.data(), nullptr);
}

TEST(Carver, MeasuresWhatItCarves) {
  const auto carve = [](Carver& carver) {
    float* const floats = carver.take<float>(3);
    uint64_t* const words = carver.take<uint64_t>(5);
    return std::pair(floats, words);
  };
  Carver measure;
  EXPECT_EQ(carve(measure).first, nullptr);
  EXPECT_EQ(measure.bytes(), 64u + 40u);
  Allocator allocator({}, 0);
  const Block block(allocator, measure.bytes(), "pieces");
  Carver carver(block);
  const auto [floats, words] = carve(carver);
  EXPECT_EQ(reinterpret_cast<std::byte*>(floats), block.data());
  EXPECT_EQ(reinterpret_cast<std::byte*>(words), block.data() + 64);
  EXPECT_TRUE(throws_error(Status::kInternal, {"129", "104"}, [&] { carver.take<char>(1); }));
  EXPECT_TRUE(
      throws_error(Status::kLimit, {"carved"}, [] { Carver().take<uint64_t>(uint64_t{1} << 62); }));
}

}  // namespace
}  // namespace dsv3
