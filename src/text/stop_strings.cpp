// One Knuth-Morris-Pratt automaton per string: the text held back is a beginning of a stop string,
// so it needs no buffer of its own.
#include "text/stop_strings.h"

#include <algorithm>

#include "base/error.h"
#include "text/utf8.h"

namespace dsv3 {

StopMatcher::StopMatcher(std::span<const std::string_view> stops) {
  if (stops.size() > kStopStringsMax) {
    fail(Status::kLimit, "stop strings: ", stops.size(), " given, at most ", kStopStringsMax);
  }
  stops_.reserve(stops.size());
  for (size_t index = 0; index < stops.size(); ++index) {
    const std::string_view text = stops[index];
    if (text.empty()) fail(Status::kInvalidArgument, "stop string ", index, " is empty");
    if (text.size() > kStopStringBytesMax) {
      fail(Status::kLimit, "stop string ", index, " has ", text.size(), " bytes, at most ",
           kStopStringBytesMax);
    }
    if (const auto at = utf8_first_invalid(text)) {
      fail(Status::kInvalidArgument, "stop string ", index, " is not UTF-8 at byte ", *at);
    }
    Stop stop;
    stop.text = text;
    stop.border.assign(text.size(), 0);
    for (size_t i = 1, length = 0; i < text.size(); ++i) {
      while (length > 0 && text[i] != text[length]) length = stop.border[length - 1];
      if (text[i] == text[length]) ++length;
      stop.border[i] = static_cast<uint16_t>(length);
    }
    stops_.push_back(std::move(stop));
  }
}

void StopMatcher::advance(Stop& stop, char byte) {
  while (stop.progress > 0 && stop.text[stop.progress] != byte) {
    stop.progress = stop.border[stop.progress - 1];
  }
  if (stop.text[stop.progress] == byte) ++stop.progress;
}

int32_t StopMatcher::feed(std::string_view text, std::string& out) {
  if (matched_ != kNoMatch) return matched_;
  if (stops_.empty()) {
    out.append(text);
    return kNoMatch;
  }
  for (size_t at = 0; at < text.size(); ++at) {
    size_t longest = 0;
    for (size_t i = 0; i < stops_.size(); ++i) {
      Stop& stop = stops_[i];
      advance(stop, text[at]);
      if (stop.progress == stop.text.size() && stop.text.size() > longest) {
        longest = stop.text.size();
        matched_ = static_cast<int32_t>(i);
      }
    }
    if (matched_ != kNoMatch) {
      append_range(held_bytes_ + at + 1 - longest, text, out);
      held_bytes_ = 0;
      return matched_;
    }
  }
  size_t held_stop = 0;
  for (size_t i = 1; i < stops_.size(); ++i) {
    if (stops_[i].progress > stops_[held_stop].progress) held_stop = i;
  }
  append_range(held_bytes_ + text.size() - stops_[held_stop].progress, text, out);
  held_stop_ = held_stop;
  held_bytes_ = stops_[held_stop].progress;
  return kNoMatch;
}

// Writes the first `count` bytes of the held text followed by `text`.
void StopMatcher::append_range(size_t count, std::string_view text, std::string& out) const {
  const size_t from_held = std::min(count, held_bytes_);
  if (from_held > 0) out.append(stops_[held_stop_].text, 0, from_held);
  out.append(text.substr(0, count - from_held));
}

void StopMatcher::flush(std::string& out) {
  append_range(held_bytes_, {}, out);
  held_bytes_ = 0;
  for (Stop& stop : stops_) stop.progress = 0;
}

void StopMatcher::reset() {
  for (Stop& stop : stops_) stop.progress = 0;
  held_stop_ = 0;
  held_bytes_ = 0;
  matched_ = kNoMatch;
}

}  // namespace dsv3
