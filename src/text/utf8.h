// Reading UTF-8: the next unit of bytes nobody has checked, and of bytes known to be valid.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace dsv3 {

enum class Utf8Kind : uint8_t {
  kChar,        // one whole code point
  kInvalid,     // a maximal ill-formed part: it stands for one U+FFFD
  kIncomplete,  // the text ends inside a sequence that is well formed so far
};

struct Utf8Unit {
  Utf8Kind kind;
  uint32_t bytes;  // 1..4
  uint32_t code;   // kChar only
};

// What stands at text[at]; at < text.size(). Overlong forms, surrogates and codes above U+10FFFF
// are invalid, as in the Unicode Standard's table of well-formed sequences.
Utf8Unit utf8_next(std::string_view text, size_t at);

// Position of the first byte that is not part of valid UTF-8; nothing when all of it is valid.
std::optional<size_t> utf8_first_invalid(std::string_view text);

void utf8_append(std::string& out, uint32_t code);

// Code point at `bytes`, which must be valid UTF-8; its length goes to *length.
inline uint32_t utf8_decode_valid(const char* bytes, uint32_t* length) {
  const auto byte = [&](int i) { return static_cast<uint32_t>(static_cast<uint8_t>(bytes[i])); };
  const uint32_t lead = byte(0);
  if (lead < 0x80) {
    *length = 1;
    return lead;
  }
  if (lead < 0xE0) {
    *length = 2;
    return (lead & 0x1F) << 6 | (byte(1) & 0x3F);
  }
  if (lead < 0xF0) {
    *length = 3;
    return (lead & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
  }
  *length = 4;
  return (lead & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
}

}  // namespace dsv3
