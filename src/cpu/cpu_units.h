// Which worker computes which part of a loop over weights? Each has a range of consecutive units of
// its own, so that it reads one long stretch of memory; who is done takes from the others' ends.
// Three quarters of what is left at a time: the fewer stretches, the less often memory is waited
// for at the beginning of one; a worker that is slowed down still leaves something to take.
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

  // Calls body(begin, end) for units of range `own`, ascending, then for what is left of the
  // others. `in_stretches`: many units at a time, fewer and fewer.
  template <typename Body>
  void work(uint32_t own, bool in_stretches, const Body& body) {
    uint32_t begin = 0;
    uint32_t end = 0;
    while (take(own, true, in_stretches, begin, end)) body(begin, end);
    for (uint32_t i = 1; i < workers_; ++i) {
      while (take((own + i) % workers_, false, in_stretches, begin, end)) body(begin, end);
    }
  }

 private:
  static uint64_t packed(uint32_t begin, uint32_t end) { return uint64_t{end} << 32 | begin; }

  // Takes units begin .. end: the first or the last ones of what is left of a range.
  bool take(uint32_t range, bool is_own, bool in_stretches, uint32_t& begin, uint32_t& end) {
    const std::atomic_ref<uint64_t> bounds(ranges_[range].bounds);
    uint64_t seen = bounds.load(std::memory_order_relaxed);
    for (;;) {
      begin = static_cast<uint32_t>(seen);
      end = static_cast<uint32_t>(seen >> 32);
      if (begin >= end) return false;
      const uint32_t left = end - begin;
      uint32_t taken = 1;
      if (in_stretches && left > 1) taken = is_own ? left - left / 4 : left / 2;
      const uint64_t rest = is_own ? packed(begin + taken, end) : packed(begin, end - taken);
      if (bounds.compare_exchange_weak(seen, rest, std::memory_order_relaxed)) {
        (is_own ? end : begin) = is_own ? begin + taken : end - taken;
        return true;
      }
    }
  }

  UnitRange* ranges_;
  uint32_t workers_;
};

}  // namespace dsv3
