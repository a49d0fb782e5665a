// The table of well-formed UTF-8 sequences as ranges of the second byte.
#include "text/utf8.h"

namespace dsv3 {
namespace {

struct LeadRule {
  uint32_t length;  // 0: the byte cannot begin a sequence
  uint8_t second_min;
  uint8_t second_max;
};

LeadRule lead_rule(uint8_t lead) {
  if (lead < 0x80) return {1, 0, 0};
  if (lead < 0xC2) return {0, 0, 0};  // continuation bytes and overlong two-byte forms
  if (lead < 0xE0) return {2, 0x80, 0xBF};
  if (lead == 0xE0) return {3, 0xA0, 0xBF};
  if (lead == 0xED) return {3, 0x80, 0x9F};  // no surrogates
  if (lead < 0xF0) return {3, 0x80, 0xBF};
  if (lead == 0xF0) return {4, 0x90, 0xBF};
  if (lead < 0xF4) return {4, 0x80, 0xBF};
  if (lead == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

}  // namespace

Utf8Unit utf8_next(std::string_view text, size_t at) {
  const LeadRule rule = lead_rule(static_cast<uint8_t>(text[at]));
  if (rule.length == 0) return {Utf8Kind::kInvalid, 1, 0};
  for (uint32_t i = 1; i < rule.length; ++i) {
    if (at + i >= text.size()) return {Utf8Kind::kIncomplete, i, 0};
    const auto byte = static_cast<uint8_t>(text[at + i]);
    const uint8_t low = i == 1 ? rule.second_min : 0x80;
    const uint8_t high = i == 1 ? rule.second_max : 0xBF;
    if (byte < low || byte > high) return {Utf8Kind::kInvalid, i, 0};
  }
  uint32_t length = 0;
  const uint32_t code = utf8_decode_valid(text.data() + at, &length);
  return {Utf8Kind::kChar, length, code};
}

std::optional<size_t> utf8_first_invalid(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    if (static_cast<uint8_t>(text[at]) < 0x80) {
      ++at;
      continue;
    }
    const Utf8Unit unit = utf8_next(text, at);
    if (unit.kind != Utf8Kind::kChar) return at;
    at += unit.bytes;
  }
  return std::nullopt;
}

void utf8_append(std::string& out, uint32_t code) {
  const auto put = [&](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6);
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3F));
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

}  // namespace dsv3
