// Is every unit of a loop taken exactly once, whoever takes it, and does a worker alone walk its
// own range in order? Several threads count what they take; one thread takes everything.
#include "cpu/cpu_units.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "base/thread_pool.h"

namespace dsv3 {
namespace {

TEST(UnitsTest, EveryUnitIsTakenOnceByAnyNumberOfWorkers) {
  for (const uint32_t workers : {1u, 2u, 3u, 7u}) {
    ThreadPool pool(ThreadPoolOptions{.threads = workers});
    std::vector<UnitRange> ranges(workers);
    for (const uint32_t count : {1u, 2u, 6u, 1000u}) {
      for (uint32_t round = 0; round < 20; ++round) {
        std::vector<std::atomic<uint32_t>> taken(count);
        Units units(ranges.data(), workers, count);
        pool.run(workers, [&](uint32_t task, uint32_t) {
          units.work(task, round % 2 != 0, [&](uint32_t begin, uint32_t end) {
            for (uint32_t unit = begin; unit < end; ++unit) ++taken[unit];
          });
        });
        for (uint32_t i = 0; i < count; ++i) {
          ASSERT_EQ(taken[i].load(), 1u) << "unit " << i << " of " << count << ", " << workers;
        }
      }
    }
  }
}

using Taken = std::vector<std::pair<uint32_t, uint32_t>>;

TEST(UnitsTest, OneThatComesFirstTakesItsOwnInOrderAndTheOthersFromTheirEnds) {
  std::vector<UnitRange> ranges(3);
  Units units(ranges.data(), 3, 9);
  Taken taken;
  const auto take = [&](uint32_t begin, uint32_t end) { taken.emplace_back(begin, end); };
  units.work(1, false, take);
  EXPECT_EQ(taken, (Taken{{3, 4}, {4, 5}, {5, 6}, {8, 9}, {7, 8}, {6, 7}, {2, 3}, {1, 2}, {0, 1}}));
  units.work(0, false, [&](uint32_t, uint32_t) { FAIL() << "nothing is left"; });
}

TEST(UnitsTest, StretchesAreThreeQuartersOfTheOwnRangeAndHalvesOfOthers) {
  std::vector<UnitRange> ranges(2);
  Units units(ranges.data(), 2, 32);
  Taken taken;
  units.work(0, true, [&](uint32_t begin, uint32_t end) { taken.emplace_back(begin, end); });
  EXPECT_EQ(taken, (Taken{{0, 12},
                          {12, 15},
                          {15, 16},  //
                          {24, 32},
                          {20, 24},
                          {18, 20},
                          {17, 18},
                          {16, 17}}));
}

}  // namespace
}  // namespace dsv3
