// How do token bytes become whole UTF-8 text while a generation runs?
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace dsv3 {

// Holds back at most 3 bytes of a sequence that is not complete yet. Bytes that cannot become valid
// turn into U+FFFD at once, one for each maximal ill-formed part; an incomplete rest does so only
// in finish(). What it writes does not depend on how the bytes were cut. One thread at a time.
class Utf8Stream {
 public:
  static constexpr size_t kHeldBytesMax = 3;

  // Bytes that one feed of `bytes` bytes, or finish(), appends at most: with this much room
  // reserved in `out` nothing is allocated.
  static constexpr size_t output_bytes_max(size_t bytes) { return 3 * (bytes + kHeldBytesMax); }

  // Appends the whole characters that held and new bytes form.
  void feed(std::string_view bytes, std::string& out);

  // End of the stream: appends U+FFFD when a sequence is still open. The stream can be used again.
  void finish(std::string& out);

  void reset() { held_count_ = 0; }
  size_t held_bytes() const { return held_count_; }

 private:
  char held_[kHeldBytesMax] = {};
  size_t held_count_ = 0;
};

}  // namespace dsv3
