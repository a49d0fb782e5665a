// Where does a running sum over the vocabulary pass a goal: in order of ids, or in order of rank?
// Sums are of 64-bit integers (counts, or probabilities in fixed point), so their order does not
// matter: the answer is the same for every block size, and counters may be shared.
#pragma once

#include "kernels/common/order_key.h"
#include "kernels/common/warp.h"

namespace dsv3::kernels {

inline constexpr uint32_t kSumParts = 32;
inline constexpr uint32_t kRankBins = 2048;

struct SelectMemory {
  uint64_t bins[kRankBins];
  uint64_t parts[kSumParts];
};

struct Place {
  uint32_t index;   // the first one whose running sum exceeds the goal; the count when none does
  uint64_t before;  // the sum of all before it
};

// Sums value(i) over kSumParts parts of [begin, end), `part` long each. All threads.
template <typename Value>
__device__ void sum_parts(uint32_t begin, uint32_t end, uint32_t part, const Value& value,
                          uint64_t* parts) {
  for (uint32_t p = warp_index(); p < kSumParts; p += blockDim.x / 32) {
    const uint32_t from = begin + p * part;
    const uint32_t to = from + part < end ? from + part : end;
    uint64_t sum = 0;
    for (uint32_t i = from + lane_index(); i < to; i += 32) sum += value(i);
    sum = warp_sum(sum);
    if (lane_index() == 0) parts[p] = sum;
  }
  __syncthreads();
}

// The place in [0, count) where the running sum of value(index) exceeds goal(total of all). Called
// by all threads, which all get it; each round looks into one of 32 parts of the round before.
template <typename Value, typename Goal>
__device__ Place locate(uint32_t count, const Value& value, const Goal& goal_of_total,
                        SelectMemory& memory) {
  uint32_t begin = 0;
  uint32_t end = count;
  uint64_t before = 0;
  uint64_t goal = 0;
  uint32_t part = 0;
  do {
    const uint32_t each = (end - begin + kSumParts - 1) / kSumParts;
    part = each <= 32 ? 32 : (each + 31) / 32 * 32;
    sum_parts(begin, end, part, value, memory.parts);
    if (end - begin == count) {
      uint64_t total = 0;
      for (const uint64_t sum : memory.parts) total += sum;
      goal = goal_of_total(total);
    }
    uint32_t p = 0;
    while (p < kSumParts && before + memory.parts[p] <= goal) before += memory.parts[p++];
    __syncthreads();
    if (p == kSumParts) return {count, before};
    begin += p * part;
    end = begin + part < end ? begin + part : end;
  } while (part != 32);
  // At most 32 are left: one a lane, the same in every warp.
  const uint32_t mine = begin + lane_index();
  const uint64_t own = mine < end ? value(mine) : 0;
  uint64_t running = own;
  for (uint32_t distance = 1; distance < 32; distance *= 2) {
    const uint64_t lower = __shfl_up_sync(kAllLanes, running, distance);
    if (lane_index() >= distance) running += lower;
  }
  const uint32_t beyond = __ballot_sync(kAllLanes, before + running > goal);
  const int first = __ffs(static_cast<int>(beyond)) - 1;
  before += __shfl_sync(kAllLanes, running - own, first);
  return {begin + static_cast<uint32_t>(first), before};
}

// A first part of the ranking (larger key first, then lower id), told by its last member.
struct RankCut {
  uint32_t key = kNoKey;
  uint32_t token = 0xffffffffu;
  __device__ bool keeps(uint32_t other_key, uint32_t other_token) const {
    return other_key > key || (other_key == key && other_token <= token);
  }
};

// Adds worth(key) of every key that starts with `prefix` to the bin of its next digit. All threads.
template <typename Key, typename Worth>
__device__ void fill_bins(uint32_t count, const Key& key_of, const Worth& worth, uint32_t prefix,
                          uint32_t known, uint32_t shift, uint64_t* bins) {
  __syncthreads();  // the bins may still be read
  for (uint32_t bin = threadIdx.x; bin < kRankBins; bin += blockDim.x) bins[bin] = 0;
  __syncthreads();
  for (uint32_t i = threadIdx.x; i < count; i += blockDim.x) {
    const uint32_t key = key_of(i);
    if (key == kNoKey || (key & known) != prefix) continue;
    const uint64_t own = worth(key);
    if (own != 0) atomic_add(&bins[(key >> shift) % kRankBins], own);
  }
  __syncthreads();
}

// The shortest first part of the ranking of [0, count) that is worth at least goal(worth of all), a
// goal of 1 or more; everything when all together are worth less. key_of(index) is kNoKey for what
// is not ranked; worth(key) depends on the key alone. Finds the last key digit by digit, then how
// many of its equals belong.
template <typename Key, typename Worth, typename Goal>
__device__ RankCut rank_cut(uint32_t count, const Key& key_of, const Worth& worth,
                            const Goal& goal_of_total, SelectMemory& memory) {
  uint32_t prefix = 0;
  uint32_t known = 0;
  uint64_t above = 0;  // worth of all keys above the prefix
  uint64_t goal = 0;
  for (int shift = 21; shift >= -1; shift -= 11) {
    // Digits of 11, 11 and 10 bits; the last one is read with a bit of the digit before it.
    const uint32_t low = shift < 0 ? 0 : static_cast<uint32_t>(shift);
    fill_bins(count, key_of, worth, prefix, known, low, memory.bins);
    const Place place = locate(
        kRankBins, [&](uint32_t i) { return memory.bins[kRankBins - 1 - i]; },
        [&](uint64_t total) {
          if (known == 0) goal = goal_of_total(total);
          return goal - 1 - above;
        },
        memory);
    if (place.index == kRankBins) return {};
    above += place.before;
    prefix |= (kRankBins - 1 - place.index) << low;
    known |= (kRankBins - 1) << low;
  }
  const uint64_t own = worth(prefix);
  const uint64_t equals = (goal - above + own - 1) / own;
  const Place last = locate(
      count, [&](uint32_t i) { return static_cast<uint64_t>(key_of(i) == prefix); },
      [&](uint64_t) { return equals - 1; }, memory);
  return {prefix, last.index};
}

}  // namespace dsv3::kernels
