// Is every unit of a loop taken exactly once, whoever takes it, and does a worker alone walk its
// own range in order? Several threads count what they take; one thread takes everything.
#include "cpu/cpu_units.h"

#include <gtest/gtest.h>

#include <numeric>
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
          units.work(task, [&](uint32_t unit) { ++taken[unit]; });
        });
        for (uint32_t i = 0; i < count; ++i) {
          ASSERT_EQ(taken[i].load(), 1u) << "unit " << i << " of " << count << ", " << workers;
        }
      }
    }
  }
}

TEST(UnitsTest, OneThatComesFirstTakesItsOwnInOrderAndTheOthersFromTheirEnds) {
  std::vector<UnitRange> ranges(3);
  Units units(ranges.data(), 3, 9);
  std::vector<uint32_t> order;
  units.work(1, [&](uint32_t unit) { order.push_back(unit); });
  EXPECT_EQ(order, (std::vector<uint32_t>{3, 4, 5, 8, 7, 6, 2, 1, 0}));
  units.work(0, [&](uint32_t) { FAIL() << "nothing is left"; });
}

}  // namespace
}  // namespace dsv3
