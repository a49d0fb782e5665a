// Which printable character stands for a byte in tokenizer.json? The 188 printable bytes of Latin-1
// stand for themselves, the other 68 in ascending order become U+0100 and on.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "text/utf8.h"

namespace dsv3 {

class ByteAlphabet {
 public:
  static constexpr uint32_t kCodesMax = 256 + 68;

  ByteAlphabet() {
    bytes_.fill(-1);
    uint32_t next = 256;
    for (uint32_t byte = 0; byte < 256; ++byte) {
      const bool prints =
          (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
      codes_[byte] = prints ? byte : next++;
      bytes_[codes_[byte]] = static_cast<int16_t>(byte);
    }
  }

  uint32_t code_of(uint8_t byte) const { return codes_[byte]; }

  // Appends the bytes that valid UTF-8 text in the alphabet stands for; false, with nothing
  // appended, when a character is not of the alphabet.
  bool decode(std::string_view text, std::string& out) const {
    const size_t before = out.size();
    for (size_t at = 0; at < text.size();) {
      uint32_t length = 0;
      const uint32_t code = utf8_decode_valid(text.data() + at, &length);
      if (code >= kCodesMax || bytes_[code] < 0) {
        out.resize(before);
        return false;
      }
      out.push_back(static_cast<char>(bytes_[code]));
      at += length;
    }
    return true;
  }

 private:
  std::array<uint32_t, 256> codes_{};
  std::array<int16_t, kCodesMax> bytes_{};
};

}  // namespace dsv3
