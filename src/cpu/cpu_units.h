// Which worker computes which part of a loop over weights? Each has a range of consecutive units of
// its own, so that it reads one long stretch of memory; who is done takes from the others' ends.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace dsv3 {

// One worker's range, alone in its cache line: begin in the low half, end in the high half.
struct alignas(64) UnitRange {
  uint64_t bounds = 0;
};

// The units of one loop. Every unit is taken once, by whoever takes it.
class Units {
 public:
  // `ranges` [workers] is the loop's memory.
  Units(UnitRange* ranges, uint32_t workers, uint32_t count) : ranges_(ranges), workers_(workers) {
    for (uint32_t i = 0; i < workers; ++i) {
      const auto begin = static_cast<uint32_t>(uint64_t{count} * i / workers);
      const auto end = static_cast<uint32_t>(uint64_t{count} * (i + 1) / workers);
      ranges[i].bounds = packed(begin, end);
    }
  }

  // Calls body(unit) for units of range `own`, ascending, then for what is left of the others.
  template <typename Body>
  void work(uint32_t own, const Body& body) {
    uint32_t unit = 0;
    while (take(own, true, unit)) body(unit);
    for (uint32_t i = 1; i < workers_; ++i) {
      while (take((own + i) % workers_, false, unit)) body(unit);
    }
  }

 private:
  static uint64_t packed(uint32_t begin, uint32_t end) { return uint64_t{end} << 32 | begin; }

  bool take(uint32_t range, bool from_front, uint32_t& unit) {
    const std::atomic_ref<uint64_t> bounds(ranges_[range].bounds);
    uint64_t seen = bounds.load(std::memory_order_relaxed);
    for (;;) {
      const auto begin = static_cast<uint32_t>(seen);
      const auto end = static_cast<uint32_t>(seen >> 32);
      if (begin >= end) return false;
      unit = from_front ? begin : end - 1;
      const uint64_t left = from_front ? packed(begin + 1, end) : packed(begin, end - 1);
      if (bounds.compare_exchange_weak(seen, left, std::memory_order_relaxed)) return true;
    }
  }

  UnitRange* ranges_;
  uint32_t workers_;
};

}  // namespace dsv3
