// The warp collectives that carry one word: shuffles, votes, reductions. Compiled without
// sanitizers: the last lane to arrive reads and writes the calls of all.
#include "emulation/emulated_block.h"

namespace dsv3::emulated {
namespace {

constexpr uint32_t kAllLanes = 0xffffffffu;

// For each lane of the mask, ascending.
template <typename Body>
void for_lanes(uint32_t mask, const Body& body) {
  for (; mask != 0; mask &= mask - 1) body(static_cast<uint32_t>(__builtin_ctz(mask)));
}

void finish_shuffle(const WarpLanes& lanes) {
  uint64_t values[32];
  for (uint32_t lane = 0; lane < 32; ++lane) values[lane] = lanes.words[lane];
  if (lanes.mask == kAllLanes) {
    for (uint32_t lane = 0; lane < 32; ++lane) lanes.words[lane] = values[lanes.sources[lane] & 31];
    return;
  }
  for_lanes(lanes.mask, [&](uint32_t lane) {
    const uint32_t source = lanes.sources[lane];
    if ((lanes.mask >> source & 1u) == 0) {
      fault("shuffle: lane %u reads lane %u, which is not in the mask %08x", lane, source,
            lanes.mask);
    }
    lanes.words[lane] = values[source];
  });
}

struct ExchangeCall {
  const uint32_t* sources;  // [8]
  uint64_t* results;        // [8]
};

void finish_exchange(const WarpLanes& lanes) {
  for (uint32_t lane = 0; lane < 32; ++lane) {
    const auto& call = *static_cast<const ExchangeCall*>(lanes.calls[lane]);
    for (uint32_t i = 0; i < 8; ++i) call.results[i] = lanes.words[call.sources[i]];
  }
}

// A reduction whose result every lane gets.
template <typename Combine>
void reduce(const WarpLanes& lanes, uint64_t start, const Combine& combine) {
  uint64_t result = start;
  for_lanes(lanes.mask, [&](uint32_t lane) { result = combine(result, lanes.words[lane], lane); });
  for_lanes(lanes.mask, [&](uint32_t lane) { lanes.words[lane] = result; });
}

void finish_ballot(const WarpLanes& lanes) {
  reduce(lanes, 0,
         [](uint64_t result, uint64_t vote, uint32_t lane) { return result | vote << lane; });
}
void finish_add(const WarpLanes& lanes) {
  reduce(lanes, 0, [](uint64_t a, uint64_t b, uint32_t) { return a + b; });
}
void finish_max(const WarpLanes& lanes) {
  reduce(lanes, 0, [](uint64_t a, uint64_t b, uint32_t) { return a > b ? a : b; });
}
void finish_min(const WarpLanes& lanes) {
  reduce(lanes, ~uint64_t{0}, [](uint64_t a, uint64_t b, uint32_t) { return a < b ? a : b; });
}
void finish_sync(const WarpLanes& /*lanes*/) {}

// Only __syncwarp promises that memory written before is seen after (CUDA's warp rules).
constexpr WarpOperation kShuffle = {"shuffle", finish_shuffle, false};
constexpr WarpOperation kExchange = {"load_matrices", finish_exchange, false};
constexpr WarpOperation kBallot = {"vote", finish_ballot, false};
constexpr WarpOperation kAdd = {"__reduce_add_sync", finish_add, false};
constexpr WarpOperation kMax = {"__reduce_max_sync", finish_max, false};
constexpr WarpOperation kMin = {"__reduce_min_sync", finish_min, false};
constexpr WarpOperation kSync = {"__syncwarp", finish_sync, true};

uint32_t meet(uint32_t mask, const WarpOperation& operation, uint32_t value) {
  return static_cast<uint32_t>(warp_meet(mask, operation, {.word = value}));
}

}  // namespace

uint64_t warp_shuffle(uint32_t mask, uint64_t value, uint32_t source) {
  return warp_meet(mask, kShuffle, {.word = value, .source = source});
}

void warp_exchange(uint64_t value, const uint32_t (&sources)[8], uint64_t (&results)[8]) {
  ExchangeCall call = {sources, results};
  warp_meet(kAllLanes, kExchange, {.word = value, .call = &call});
}

uint32_t warp_ballot(uint32_t mask, bool predicate) {
  return meet(mask, kBallot, predicate ? 1 : 0);
}
void warp_sync(uint32_t mask) { warp_meet(mask, kSync, {}); }
uint32_t warp_reduce_add(uint32_t mask, uint32_t value) { return meet(mask, kAdd, value); }
uint32_t warp_reduce_max(uint32_t mask, uint32_t value) { return meet(mask, kMax, value); }
uint32_t warp_reduce_min(uint32_t mask, uint32_t value) { return meet(mask, kMin, value); }

}  // namespace dsv3::emulated
