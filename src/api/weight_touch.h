// Are the weights in reach when the first pass begins? Weights used in place are touched while
// loading, in pieces by all threads, so that no pass stops for each of their pages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/clock.h"
#include "base/thread_pool.h"
#include "model/weight_loader.h"

namespace dsv3 {

class WeightTouch {
 public:
  // Ranges of more than `bytes_max` together are left alone: what was read first would be gone when
  // the last is in.
  WeightTouch(MappedRanges ranges, uint64_t bytes_max);

  // Touches for about a millisecond, a 64th of all at most, or one piece for each worker where the
  // system has to read them; true when nothing is left.
  bool step(ThreadPool& pool, Clock& clock);
  uint64_t bytes_done() const { return bytes_done_; }

 private:
  struct Piece {
    const std::byte* data;
    uint64_t bytes;
  };
  bool next(Piece* out);

  uint64_t step_bytes_ = 0;   // enough for one step
  uint64_t piece_bytes_ = 0;  // a power of two

  MappedRanges ranges_;
  size_t index_ = 0;    // of the current range
  uint64_t begin_ = 0;  // in it
  uint64_t bytes_done_ = 0;
  std::vector<Piece> pieces_;  // of the workers, in one round
};

}  // namespace dsv3
