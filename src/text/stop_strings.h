// Does the generated text contain a stop string, and what of it may be shown already?
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dsv3 {

constexpr size_t kStopStringsMax = 16;
constexpr size_t kStopStringBytesMax = 256;

// Watches a stream of whole UTF-8 text. Text that could still turn out to begin a stop string is
// held back; of a stop string that matched, nothing is ever written. The stop string that is
// complete first wins; of several complete at the same byte the longest, then the first given.
// The outcome does not depend on how the text was cut. One thread at a time.
class StopMatcher {
 public:
  static constexpr int32_t kNoMatch = -1;

  StopMatcher() = default;
  // At most kStopStringsMax strings of 1..kStopStringBytesMax bytes of valid UTF-8; else LIMIT or
  // INVALID_ARGUMENT naming the index.
  explicit StopMatcher(std::span<const std::string_view> stops);

  // Appends the text that is safe to show; at most text.size() + kStopStringBytesMax bytes, no
  // allocation when `out` has that much room. Returns the index of the stop string that matched,
  // now or earlier, or kNoMatch. After a match nothing is written any more.
  int32_t feed(std::string_view text, std::string& out);

  // End of the stream without a match: appends what was held back.
  void flush(std::string& out);

  // Forgets held text and match; the strings stay.
  void reset();

  bool is_empty() const { return stops_.empty(); }
  size_t held_bytes() const { return held_bytes_; }
  int32_t matched() const { return matched_; }

 private:
  struct Stop {
    std::string text;
    std::vector<uint16_t> border;  // [text.size()] longest proper prefix that ends here as well
    size_t progress = 0;           // bytes of `text` that the stream ends with
  };

  static void advance(Stop& stop, char byte);
  void append_range(size_t count, std::string_view text, std::string& out) const;

  std::vector<Stop> stops_;
  size_t held_stop_ = 0;  // the held text is the beginning of this stop string
  size_t held_bytes_ = 0;
  int32_t matched_ = kNoMatch;
};

}  // namespace dsv3
