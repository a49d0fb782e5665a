// First completes or drops what is held, then passes whole stretches of the new bytes on.
#include "text/utf8_stream.h"

#include <cstring>

#include "text/utf8.h"

namespace dsv3 {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

}  // namespace

void Utf8Stream::feed(std::string_view bytes, std::string& out) {
  size_t at = 0;
  while (held_count_ > 0 && at < bytes.size()) {
    char joined[kHeldBytesMax + 1];
    std::memcpy(joined, held_, held_count_);
    joined[held_count_] = bytes[at];
    const Utf8Unit unit = utf8_next(std::string_view(joined, held_count_ + 1), 0);
    if (unit.kind == Utf8Kind::kInvalid) {
      // The held bytes were a good beginning, so only the new byte can have spoilt it: it is read
      // again as the beginning of something else.
      out.append(kReplacement);
      held_count_ = 0;
      break;
    }
    ++at;
    if (unit.kind == Utf8Kind::kChar) {
      out.append(joined, held_count_ + 1);
      held_count_ = 0;
    } else {
      held_[held_count_] = joined[held_count_];
      ++held_count_;
    }
  }

  size_t good_from = at;  // bytes[good_from, at) is valid and not written yet
  while (at < bytes.size()) {
    const Utf8Unit unit = utf8_next(bytes, at);
    if (unit.kind == Utf8Kind::kChar) {
      at += unit.bytes;
      continue;
    }
    out.append(bytes.substr(good_from, at - good_from));
    if (unit.kind == Utf8Kind::kInvalid) {
      out.append(kReplacement);
    } else {
      std::memcpy(held_, bytes.data() + at, unit.bytes);
      held_count_ = unit.bytes;
    }
    at += unit.bytes;
    good_from = at;
  }
  out.append(bytes.substr(good_from));
}

void Utf8Stream::finish(std::string& out) {
  if (held_count_ > 0) out.append(kReplacement);
  held_count_ = 0;
}

}  // namespace dsv3
