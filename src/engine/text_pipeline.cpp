#include "engine/text_pipeline.h"

#include <algorithm>
#include <vector>

#include "base/checked.h"

namespace dsv3 {
namespace {

constexpr uint64_t kCharBytesMax = 4;

StopMatcher make_matcher(std::span<const std::string> strings) {
  const std::vector<std::string_view> views(strings.begin(), strings.end());
  return StopMatcher(views);
}

}  // namespace

TextRules::TextRules(const Tokenizer* tokenizer_in) : tokenizer(tokenizer_in) {
  if (tokenizer == nullptr) return;
  think_begin = tokenizer->think_begin_id().value_or(Tokenizer::kNoToken);
  think_end = tokenizer->think_end_id().value_or(Tokenizer::kNoToken);
  for (int32_t id = 0; id < tokenizer->vocab_size(); ++id) {
    token_bytes_max = std::max<uint64_t>(token_bytes_max, tokenizer->token_bytes(id).size());
  }
  // Its own text, the U+FFFD of a flush, and what the stop matcher held.
  token_text_bytes_max = Utf8Stream::output_bytes_max(token_bytes_max) +
                         Utf8Stream::output_bytes_max(0) + 2 * kStopStringBytesMax;
  token_text_events_max = static_cast<uint32_t>(
      ceil_div<uint64_t>(token_text_bytes_max, kEventTextBytes - (kCharBytesMax - 1)));
}

Channel TextRules::channel_after(int32_t token, Channel channel) const {
  if (token == Tokenizer::kNoToken) return channel;
  if (token == think_begin) return Channel::kReasoning;
  if (token == think_end) return Channel::kAnswer;
  return channel;
}

TextPipeline::TextPipeline(const TextRules& rules, std::span<const std::string> stop_strings)
    : rules_(&rules), stops_(make_matcher(stop_strings)) {
  whole_.reserve(Utf8Stream::output_bytes_max(rules.token_bytes_max));
  pending_.reserve(rules.token_text_bytes_max);
}

void TextPipeline::skip() {
  pending_.clear();
  pending_channel_ = channel_;
}

bool TextPipeline::feed(int32_t token, Channel next) {
  skip();
  if (rules_ == nullptr) return false;
  const bool is_tag = rules_->is_think_tag(token);
  if (!is_tag && !rules_->tokenizer->is_control(token)) {
    whole_.clear();
    utf8_.feed(rules_->tokenizer->token_bytes(token), whole_);
    if (release(whole_)) return true;
  }
  // Text of one channel never waits for text of the other.
  if ((is_tag || next != channel_) && flush()) return true;
  channel_ = next;
  return false;
}

bool TextPipeline::flush() {
  if (rules_ == nullptr) return false;
  whole_.clear();
  utf8_.finish(whole_);
  if (release(whole_)) return true;
  stops_.flush(pending_);
  return false;
}

bool TextPipeline::release(std::string_view text) {
  return stops_.feed(text, pending_) != StopMatcher::kNoMatch;
}

std::string_view text_event_part(std::string_view text) {
  if (text.size() <= kEventTextBytes) return text;
  const auto continues = [&](size_t at) { return (static_cast<uint8_t>(text[at]) & 0xC0) == 0x80; };
  size_t end = kEventTextBytes;
  while (continues(end)) --end;
  return text.substr(0, end);
}

}  // namespace dsv3
