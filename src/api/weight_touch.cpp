// Pieces of one large page for each worker; rounds of them until a millisecond has passed.
// What was measured, tried and dropped: docs/decisions/0013-mapped-weights-are-touched.md.
#include "api/weight_touch.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "base/platform.h"

namespace dsv3 {
namespace {

constexpr uint64_t kPieceBytesMax = 2u << 20;  // a large page: what one fault maps at best
constexpr uint64_t kPieceBytesMin = 64u << 10;
constexpr uint64_t kSteps = 64;  // at least, where there are as many pieces: progress shows them
constexpr uint64_t kRoundBytesMax = 8u << 20;  // what a cold disk may take before time is looked at
constexpr uint64_t kRoundsUs = 1000;           // well below a frame; a wake-up costs some 50

}  // namespace

WeightTouch::WeightTouch(MappedRanges ranges, uint64_t bytes_max) : ranges_(std::move(ranges)) {
  uint64_t bytes = 0;
  for (const auto& range : ranges_) bytes += range.size();
  step_bytes_ = bytes / kSteps;
  piece_bytes_ = std::clamp(std::bit_floor(step_bytes_), kPieceBytesMin, kPieceBytesMax);
  if (bytes <= bytes_max) return;
  ranges_.clear();
  bytes_done_ = bytes;
}

// The rest of the current range up to the next border of a piece.
bool WeightTouch::next(Piece* out) {
  while (index_ < ranges_.size() && begin_ == ranges_[index_].size()) {
    ++index_;
    begin_ = 0;
  }
  if (index_ == ranges_.size()) return false;
  const auto rest = ranges_[index_].subspan(begin_);
  const uint64_t into_piece = reinterpret_cast<uintptr_t>(rest.data()) % piece_bytes_;
  *out = {rest.data(), std::min<uint64_t>(rest.size(), piece_bytes_ - into_piece)};
  begin_ += out->bytes;
  bytes_done_ += out->bytes;
  return true;
}

bool WeightTouch::step(ThreadPool& pool, Clock& clock) {
  const uint64_t begin_us = clock.now_us();
  const uint64_t begin_bytes = bytes_done_;
  pieces_.resize(pool.workers());
  do {
    uint32_t count = 0;
    const uint64_t round_begin = bytes_done_;
    const auto has_room = [&] {
      return count == 0 || (bytes_done_ - begin_bytes < step_bytes_ &&
                            bytes_done_ - round_begin < kRoundBytesMax);
    };
    while (count < pieces_.size() && has_room() && next(&pieces_[count])) ++count;
    if (count == 0) return true;
    pool.run(count, [this](uint32_t task, uint32_t) {
      platform_touch_mapped(pieces_[task].data, pieces_[task].bytes);
    });
  } while (bytes_done_ - begin_bytes < step_bytes_ && clock.now_us() - begin_us < kRoundsUs);
  return false;
}

}  // namespace dsv3
