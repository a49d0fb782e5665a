// Files and generators that several tests of this room use.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <string_view>

#include "base/error.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

#ifndef DSV3_GOLDEN_DIR
#  define DSV3_GOLDEN_DIR "tests/golden"
#endif
#ifndef DSV3_SOURCE_DIR
#  define DSV3_SOURCE_DIR "."
#endif
// Folder with the published DeepSeek-V3 tokenizer files; not part of the project.
#ifndef DSV3_TOKENIZER_DIR
#  define DSV3_TOKENIZER_DIR DSV3_SOURCE_DIR "/../shared/tokenizer/deepseek-v3"
#endif

namespace dsv3::test {

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

inline std::string small_tokenizer_json() {
  return read_file(std::filesystem::path(DSV3_GOLDEN_DIR) / "tokenizer_small" / "tokenizer.json");
}

inline std::unique_ptr<Tokenizer> small_tokenizer() {
  return Tokenizer::from_json(small_tokenizer_json(), {}, {});
}

// The status and message a call fails with; kOk when it does not.
struct Outcome {
  Status status = Status::kOk;
  std::string message;
};

template <typename Call>
Outcome outcome_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return {error.status(), error.message()};
  }
  return {};
}

// Valid UTF-8 with a liking for the characters that the splitting rules tell apart.
inline std::string random_text(std::mt19937& random, size_t count) {
  static constexpr std::string_view kParts[] = {" ",
                                                "  ",
                                                "\n",
                                                "\r",
                                                "\t",
                                                "a",
                                                "Z",
                                                "'s",
                                                "'ll",
                                                "'",
                                                ".",
                                                "-",
                                                "$",
                                                "9",
                                                "12345",
                                                "_",
                                                "\xC2\xA0",
                                                "\xC2\x85",
                                                "\xE3\x80\x80",
                                                "\xCC\x81",
                                                "\xC2\xB2",
                                                "\xE2\x80\x8D",
                                                "\xC3\xA9",
                                                "\xE4\xB8\x80",
                                                "\xE9\xBE\xA5",
                                                "\xE9\xBE\xA6",
                                                "\xE3\x81\x82",
                                                "\xE3\x83\xBB",
                                                "\xE3\x82\x9B",
                                                "\xED\x95\x9C",
                                                "\xE2\x85\xA7",
                                                "\xE2\x82\xAC",
                                                "\xF0\x9F\x98\x80",
                                                "\xD9\xA3",
                                                "<",
                                                "|"};
  std::string text;
  for (size_t i = 0; i < count; ++i) {
    const uint32_t choice = static_cast<uint32_t>(random());
    if (choice % 8 != 0) {
      text += kParts[(choice / 8) % std::size(kParts)];
      continue;
    }
    uint32_t code = (choice / 8) % 0x110000;
    if (code >= 0xD800 && code < 0xE000) code -= 0x800;
    utf8_append(text, code);
  }
  return text;
}

}  // namespace dsv3::test
