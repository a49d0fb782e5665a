// Goal: streamed text is whole UTF-8 and does not depend on how bytes were cut. Method: known byte
// strings cut at every place and byte by byte, random bytes against a decoder of the whole string.
#include "text/utf8_stream.h"

#include <gtest/gtest.h>

#include "text/text_fixture.h"

namespace dsv3::test {
namespace {

constexpr const char* kBad = "\xEF\xBF\xBD";

// Of the whole string at once.
std::string repaired(std::string_view bytes) {
  std::string out;
  for (size_t at = 0; at < bytes.size();) {
    const Utf8Unit unit = utf8_next(bytes, at);
    out += unit.kind == Utf8Kind::kChar ? std::string(bytes.substr(at, unit.bytes)) : kBad;
    at += unit.bytes;
  }
  return out;
}

TEST(Utf8Stream, MaximalPartsAreReplacedOnce) {
  const std::pair<std::string, std::string> cases[] = {
      {"\xF0\x9F\x98\x80", "\xF0\x9F\x98\x80"},
      {"\xE2\x82", kBad},
      {"\xE2\x82x", std::string(kBad) + "x"},
      {"\xF0\x9F\x98", kBad},
      {"\xF0\x9F\xE2\x82\xAC", std::string(kBad) + "\xE2\x82\xAC"},
      {"\xC0\x80", std::string(kBad) + kBad},
      {"\xED\xA0\x80", std::string(kBad) + kBad + kBad},
      {"\xF4\x90\x80\x80", std::string(kBad) + kBad + kBad + kBad},
      {"a\x80z", std::string("a") + kBad + "z"},
      {std::string("\0", 1), std::string("\0", 1)},
  };
  for (const auto& [bytes, want] : cases) {
    for (size_t cut = 0; cut <= bytes.size(); ++cut) {
      Utf8Stream stream;
      std::string out;
      stream.feed(std::string_view(bytes).substr(0, cut), out);
      stream.feed(std::string_view(bytes).substr(cut), out);
      stream.finish(out);
      EXPECT_EQ(out, want) << "cut " << cut;
    }
  }
}

TEST(Utf8Stream, RandomBytesInRandomCutsEqualTheWhole) {
  std::mt19937 random(7);
  for (int round = 0; round < 2000; ++round) {
    std::string bytes = random_text(random, 1 + random() % 20);
    for (size_t i = random() % 4; i > 0; --i) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    Utf8Stream stream;
    std::string out;
    for (size_t at = 0; at < bytes.size();) {
      const size_t count = std::min<size_t>(1 + random() % 5, bytes.size() - at);
      std::string part;
      part.reserve(Utf8Stream::output_bytes_max(count));
      const size_t room = part.capacity();
      stream.feed(std::string_view(bytes).substr(at, count), part);
      ASSERT_EQ(part.capacity(), room);
      ASSERT_FALSE(utf8_first_invalid(part).has_value());
      ASSERT_LE(stream.held_bytes(), Utf8Stream::kHeldBytesMax);
      out += part;
      at += count;
    }
    stream.finish(out);
    ASSERT_EQ(out, repaired(bytes));
    ASSERT_EQ(stream.held_bytes(), 0U);
  }
}

TEST(Utf8Stream, ResetForgetsTheOpenSequence) {
  Utf8Stream stream;
  std::string out;
  stream.feed("\xE2\x82", out);
  EXPECT_EQ(stream.held_bytes(), 2U);
  stream.reset();
  stream.feed("a", out);
  stream.finish(out);
  EXPECT_EQ(out, "a");
}

}  // namespace
}  // namespace dsv3::test
