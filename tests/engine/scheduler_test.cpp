// Goal: the plan's order, shares and victims are the documented ones. Method: hand-made demands.
#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "support/soak.h"

namespace dsv3 {
namespace {

SequenceDemand decode(uint32_t slot, uint32_t tokens) {
  return {.slot = slot,
          .tokens = tokens,
          .cached = tokens - 1,
          .pages = (tokens - 1 + kPageTokens - 1) / kPageTokens,
          .is_generating = true,
          .is_wanted = true};
}

SequenceDemand prefill(uint32_t slot, uint32_t tokens, bool is_generating = true) {
  return {.slot = slot, .tokens = tokens, .is_generating = is_generating, .is_wanted = true};
}

SequenceDemand idle(uint32_t slot, uint32_t pages) {
  return {
      .slot = slot, .tokens = pages * kPageTokens, .cached = pages * kPageTokens, .pages = pages};
}

struct Scene {
  std::vector<SequenceDemand> demands;
  uint32_t pages_free = 100;
  uint32_t page_count = 100;
  uint32_t rows_max = 32;
  uint32_t prefill_rows_max = 32;
  OutOfPagesPolicy policy = OutOfPagesPolicy::kPreempt;

  StepPlan plan() const {
    Scheduler scheduler(16);
    return scheduler.plan({.demands = demands,
                           .pages_free = pages_free,
                           .page_count = page_count,
                           .rows_max = rows_max,
                           .prefill_rows_max = prefill_rows_max,
                           .policy = policy});
  }
};

const PlannedWork* work_of(const StepPlan& plan, uint32_t slot) {
  for (const PlannedWork& work : plan.work) {
    if (work.slot == slot) return &work;
  }
  return nullptr;
}

TEST(Scheduler, NothingWantedNothingPlanned) {
  Scene scene;
  scene.demands = {idle(0, 1)};
  EXPECT_TRUE(scene.plan().work.empty());
}

TEST(Scheduler, DecodesComeBeforePrefills) {
  Scene scene;
  scene.demands = {decode(3, 10), prefill(1, 100), decode(2, 20)};
  const StepPlan plan = scene.plan();
  ASSERT_EQ(plan.work.size(), 3u);
  EXPECT_EQ(plan.work[0].slot, 3u);
  EXPECT_EQ(plan.work[1].slot, 2u);
  EXPECT_EQ(plan.work[2].slot, 1u);
  EXPECT_EQ(plan.work[2].row_count, 30u);
  EXPECT_TRUE(plan.work[0].draws);
  EXPECT_FALSE(plan.work[2].draws);
}

TEST(Scheduler, OldestPrefillIsNotStarvedByDecodes) {
  Scene scene;
  scene.rows_max = 4;
  scene.demands = {prefill(0, 100), decode(1, 9), decode(2, 9), decode(3, 9), decode(4, 9)};
  const StepPlan plan = scene.plan();
  ASSERT_NE(work_of(plan, 0), nullptr);
  EXPECT_EQ(work_of(plan, 0)->row_count, 1u);
  EXPECT_EQ(work_of(plan, 4), nullptr);
}

TEST(Scheduler, PrefillsShareTheirRowsByAge) {
  Scene scene;
  scene.prefill_rows_max = 20;
  scene.demands = {prefill(0, 15), prefill(1, 15), prefill(2, 15)};
  const StepPlan plan = scene.plan();
  EXPECT_EQ(work_of(plan, 0)->row_count, 15u);
  EXPECT_EQ(work_of(plan, 1)->row_count, 5u);
  EXPECT_EQ(work_of(plan, 2), nullptr);
  EXPECT_TRUE(work_of(plan, 0)->draws);
}

TEST(Scheduler, CachedGenerationOnlyDraws) {
  Scene scene;
  SequenceDemand demand = idle(0, 1);
  demand.is_generating = demand.is_wanted = true;
  scene.demands = {demand};
  scene.pages_free = 0;
  const StepPlan plan = scene.plan();
  ASSERT_EQ(plan.work.size(), 1u);
  EXPECT_EQ(plan.work[0].row_count, 0u);
  EXPECT_EQ(plan.work[0].pages_new, 0u);
  EXPECT_TRUE(plan.work[0].draws);
}

TEST(Scheduler, BlockedSequencesWait) {
  Scene scene;
  scene.demands = {decode(0, 10), decode(1, 10)};
  scene.demands[0].is_blocked = true;
  const StepPlan plan = scene.plan();
  ASSERT_EQ(plan.work.size(), 1u);
  EXPECT_EQ(plan.work[0].slot, 1u);
}

TEST(Scheduler, IdleSequencesLosePagesFirst) {
  Scene scene;
  scene.pages_free = 0;
  scene.demands = {idle(0, 1), decode(1, 65), idle(2, 1), decode(3, 100)};
  const StepPlan plan = scene.plan();
  ASSERT_EQ(plan.preempted, std::vector<uint32_t>{2});  // the youngest idle one
  EXPECT_EQ(work_of(plan, 1)->pages_new, 1u);
  EXPECT_NE(work_of(plan, 3), nullptr);
}

TEST(Scheduler, YoungestGivesWayToOlder) {
  Scene scene;
  scene.pages_free = 0;
  scene.demands = {decode(0, 65), decode(1, 100), decode(2, 100)};
  const StepPlan plan = scene.plan();
  EXPECT_EQ(plan.preempted, std::vector<uint32_t>{2});
  EXPECT_EQ(work_of(plan, 2), nullptr);
  EXPECT_NE(work_of(plan, 1), nullptr);
}

TEST(Scheduler, YoungerNeverTakesFromOlder) {
  Scene scene;
  scene.pages_free = 0;
  scene.demands = {decode(0, 100), decode(1, 65)};
  const StepPlan plan = scene.plan();
  EXPECT_TRUE(plan.preempted.empty());
  EXPECT_EQ(work_of(plan, 1), nullptr);
}

TEST(Scheduler, DecodeNeverTakesFromAnOlderPrefill) {
  Scene scene;
  scene.pages_free = 0;
  SequenceDemand older = prefill(1, 200);
  older.cached = kPageTokens;
  older.pages = 1;
  scene.demands = {decode(0, 10), older, decode(2, 65)};
  const StepPlan plan = scene.plan();
  EXPECT_TRUE(plan.preempted == std::vector<uint32_t>{2});  // gives its page to the older one
  EXPECT_EQ(work_of(plan, 2), nullptr);
  EXPECT_NE(work_of(plan, 1), nullptr);
}

TEST(Scheduler, PreemptedReturnsOnlyWhenAllOfItFits) {
  Scene scene;
  scene.pages_free = 2;
  scene.demands = {decode(0, 10), prefill(1, 3 * kPageTokens)};
  EXPECT_EQ(work_of(scene.plan(), 1), nullptr);
  scene.pages_free = 4;
  EXPECT_NE(work_of(scene.plan(), 1), nullptr);
  scene.pages_free = 2;
  scene.demands[0] = idle(0, 10);  // nothing else runs
  EXPECT_NE(work_of(scene.plan(), 1), nullptr);
}

TEST(Scheduler, ChunkIsCutToTheFreePages) {
  Scene scene;
  scene.rows_max = scene.prefill_rows_max = 500;
  scene.pages_free = 2;
  scene.demands = {prefill(0, 300)};
  const StepPlan plan = scene.plan();
  ASSERT_EQ(plan.work.size(), 1u);
  EXPECT_EQ(plan.work[0].row_count, 2 * kPageTokens);
  EXPECT_EQ(plan.work[0].pages_new, 2u);
}

TEST(Scheduler, LimitRefusesGenerationsAndLetsPrefillsWait) {
  Scene scene;
  scene.policy = OutOfPagesPolicy::kLimit;
  scene.pages_free = 1;
  scene.demands = {idle(0, 5), prefill(1, 3 * kPageTokens), prefill(2, 3 * kPageTokens, false)};
  const StepPlan plan = scene.plan();
  EXPECT_TRUE(plan.work.empty());
  EXPECT_TRUE(plan.preempted.empty());
  ASSERT_EQ(plan.refusals.size(), 1u);
  EXPECT_EQ(plan.refusals[0].slot, 1u);
  EXPECT_EQ(plan.refusals[0].pages_wanted, 3u);
  EXPECT_EQ(plan.refusals[0].pages_free, 1u);
}

// Ending one may feed the others: the youngest goes, the older wait for the next plan.
TEST(Scheduler, LimitRefusesOnlyTheYoungest) {
  Scene scene;
  scene.policy = OutOfPagesPolicy::kLimit;
  scene.pages_free = 0;
  scene.demands = {prefill(0, kPageTokens), prefill(1, kPageTokens), prefill(2, kPageTokens)};
  const StepPlan plan = scene.plan();
  EXPECT_TRUE(plan.work.empty());
  ASSERT_EQ(plan.refusals.size(), 1u);
  EXPECT_EQ(plan.refusals[0].slot, 2u);
}

// Whatever the demands: no row, page or slot is planned twice or beyond the limits, and something
// is planned whenever something can run.
TEST(Scheduler, RandomPlansKeepTheLimits) {
  std::mt19937 random(test::soak_seeds() + 7);
  const auto pick = [&](uint32_t low, uint32_t high) {
    return std::uniform_int_distribution<uint32_t>(low, high)(random);
  };
  int crowded = 0;
  for (int round = 0; round < 20000; ++round) {
    Scene scene;
    scene.rows_max = pick(1, 40);
    scene.page_count = pick(33, 60);  // each sequence alone fits
    scene.prefill_rows_max = pick(1, scene.rows_max);
    uint32_t held = 0;
    bool can_run = false;
    const uint32_t count = pick(1, 16);
    for (uint32_t slot = 0; slot < count; ++slot) {
      SequenceDemand demand;
      demand.slot = slot;
      demand.tokens = pick(1, 2000);
      demand.cached = pick(0, 1) == 0 ? demand.tokens - 1 : pick(0, demand.tokens);
      demand.pages = (demand.cached + kPageTokens - 1) / kPageTokens;
      demand.is_generating = pick(0, 1) == 0;
      demand.is_wanted = demand.is_generating || (pick(0, 1) == 0 && demand.cached < demand.tokens);
      demand.is_blocked = demand.is_generating && pick(0, 5) == 0;
      if (held + demand.pages > scene.page_count) break;
      held += demand.pages;
      can_run = can_run || (demand.is_wanted && !demand.is_blocked);
      scene.demands.push_back(demand);
    }
    scene.pages_free = scene.page_count - held;
    const StepPlan plan = scene.plan();
    crowded += plan.preempted.empty() ? 0 : 1;
    uint32_t rows = 0;
    uint32_t pages = 0;
    std::vector<int> seen(16, 0);
    for (const PlannedWork& work : plan.work) {
      rows += work.row_count;
      pages += work.pages_new;
      ++seen[work.slot];
    }
    uint32_t freed = scene.pages_free;
    for (const uint32_t slot : plan.preempted) {
      ++seen[slot];
      for (const SequenceDemand& demand : scene.demands) {
        if (demand.slot == slot) freed += demand.pages;
      }
    }
    ASSERT_LE(rows, scene.rows_max);
    ASSERT_LE(pages, freed);
    ASSERT_TRUE(std::all_of(seen.begin(), seen.end(), [](int times) { return times <= 1; }));
    ASSERT_EQ(plan.work.empty(), !can_run);
  }
  EXPECT_GT(crowded, 100);
}

}  // namespace
}  // namespace dsv3
