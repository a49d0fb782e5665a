// How do the tokens of one generation become text events: bytes, whole UTF-8, stop strings,
// channels?
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "engine/types.h"
#include "text/stop_strings.h"
#include "text/tokenizer.h"
#include "text/utf8_stream.h"

namespace dsv3 {

// What the pipelines of one context share. Null tokenizer: no token has text.
struct TextRules {
  explicit TextRules(const Tokenizer* tokenizer_in);

  // The channel after `token`, when `channel` was open before it.
  Channel channel_after(int32_t token, Channel channel) const;
  bool is_think_tag(int32_t token) const { return token == think_begin || token == think_end; }

  const Tokenizer* tokenizer;
  int32_t think_begin = Tokenizer::kNoToken;  // kNoToken: no tag of its own
  int32_t think_end = Tokenizer::kNoToken;
  uint64_t token_bytes_max = 0;
  uint64_t token_text_bytes_max = 0;  // released by one token, flush included
  uint32_t token_text_events_max = 0;
};

// Made when a generation starts; feed() and flush() allocate nothing.
class TextPipeline {
 public:
  TextPipeline() = default;
  TextPipeline(const TextRules& rules, std::span<const std::string> stop_strings);

  void open(Channel channel) { channel_ = channel; }
  // Adds what the token releases to pending(); `next` is the channel after it. True when a stop
  // string is complete: of it and of what follows nothing is released.
  bool feed(int32_t token, Channel next);
  // The next token has no text: pending() is empty again.
  void skip();
  // Releases what was held back; an incomplete character becomes U+FFFD. True as for feed().
  bool flush();

  // Released by the last feed() and the flush() after it; belongs to pending_channel().
  std::string_view pending() const { return pending_; }
  Channel pending_channel() const { return pending_channel_; }

 private:
  bool release(std::string_view text);

  const TextRules* rules_ = nullptr;  // null: the generation wants no text
  Channel channel_ = Channel::kAnswer;
  Channel pending_channel_ = Channel::kAnswer;
  Utf8Stream utf8_;
  StopMatcher stops_;
  std::string whole_;  // scratch: whole UTF-8 of one token
  std::string pending_;
};

// The longest beginning of `text` of at most kEventTextBytes bytes that ends between characters.
std::string_view text_event_part(std::string_view text);

}  // namespace dsv3
