// The plain turns of each template as rules. Where control tokens stand alone between two contents,
// splitting the text there changes no ids.
#include "text/chat.h"

#include <algorithm>

#include "base/error.h"

namespace dsv3 {
namespace {

// U+FF5C and U+2581 in the control tokens.
constexpr const char* kBegin =
    "<\xEF\xBD\x9C"
    "begin\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>";
constexpr const char* kEnd =
    "<\xEF\xBD\x9C"
    "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>";
constexpr const char* kUser = "<\xEF\xBD\x9CUser\xEF\xBD\x9C>";
constexpr const char* kAssistant =
    "<\xEF\xBD\x9C"
    "Assistant\xEF\xBD\x9C>";
constexpr std::string_view kThinkEnd = "</think>";

enum class AnswerMark : uint8_t {
  kWithAnswer,     // each answer and each generation prompt brings its own mark
  kWithUser,       // the mark follows the user's text at once
  kAfterUserOnly,  // as kWithAnswer, but only where a user turn came before
};

enum class ThinkCut : uint8_t { kNone, kAfterLast, kAfterFirst };

struct Rules {
  AnswerMark mark;
  ThinkCut cut;               // which part of an earlier answer is kept
  const char* past_suffix;    // between mark and an earlier answer
  const char* open_suffix;    // between mark and the answer to come
  const char* open_thinking;  // the same with thinking on
};

Rules rules_of(ChatTemplate chat_template) {
  switch (chat_template) {
    case ChatTemplate::kV3:
      return {AnswerMark::kWithAnswer, ThinkCut::kNone, "", "", ""};
    case ChatTemplate::kV3_0324:
      return {AnswerMark::kWithUser, ThinkCut::kNone, "", "", ""};
    case ChatTemplate::kR1:
      return {AnswerMark::kWithAnswer, ThinkCut::kAfterLast, "", "<think>\n", "<think>\n"};
    case ChatTemplate::kR1_0528:
      return {AnswerMark::kWithUser, ThinkCut::kAfterLast, "", "", ""};
    case ChatTemplate::kV31:
      return {AnswerMark::kAfterUserOnly, ThinkCut::kAfterFirst, "</think>", "</think>", "<think>"};
    case ChatTemplate::kNone:
      fail(Status::kUnsupported, "chat: the checkpoint has no chat template");
    case ChatTemplate::kUnknown:
      break;
  }
  fail(Status::kUnsupported, "chat: the checkpoint's chat template is not a known one of ",
       "DeepSeek V3, V3-0324, R1, R1-0528, V3.1");
}

std::string_view kept_answer(std::string_view content, ThinkCut cut) {
  if (cut == ThinkCut::kNone) return content;
  const size_t at =
      cut == ThinkCut::kAfterLast ? content.rfind(kThinkEnd) : content.find(kThinkEnd);
  return at == std::string_view::npos ? content : content.substr(at + kThinkEnd.size());
}

// Joins neighbours of one kind and leaves out empty ones.
class PieceList {
 public:
  void marks(std::string_view text) { add(text, true); }
  void content(std::string_view text) { add(text, false); }
  std::vector<ChatPiece> take() { return std::move(pieces_); }

 private:
  void add(std::string_view text, bool parse_special) {
    if (text.empty()) return;
    if (pieces_.empty() || pieces_.back().parse_special != parse_special) {
      pieces_.push_back({std::string(), parse_special});
    }
    pieces_.back().text += text;
  }

  std::vector<ChatPiece> pieces_;
};

void check_messages(std::span<const ChatMessage> messages, const ChatState& state) {
  for (size_t i = 0; i < messages.size(); ++i) {
    if (messages[i].role == ChatRole::kTool) {
      fail(Status::kUnsupported, "chat: message ", static_cast<uint64_t>(i),
           " is a tool message; tools are not supported yet");
    }
    if (messages[i].role == ChatRole::kSystem && state.begun) {
      fail(Status::kInvalidArgument, "chat: message ", static_cast<uint64_t>(i),
           " is a system message, but the conversation has begun: the template puts them first");
    }
  }
}

void render_begin(std::span<const ChatMessage> messages, PieceList& pieces) {
  pieces.marks(kBegin);
  bool is_first = true;
  for (const ChatMessage& message : messages) {
    if (message.role != ChatRole::kSystem) continue;
    if (!is_first) pieces.content("\n\n");
    pieces.content(message.content);
    is_first = false;
  }
}

}  // namespace

std::vector<ChatPiece> render_chat(ChatTemplate chat_template,
                                   std::span<const ChatMessage> messages,
                                   const ChatOptions& options, ChatState& state) {
  const Rules rules = rules_of(chat_template);
  check_messages(messages, state);
  PieceList pieces;
  ChatState next = state;
  if (!next.begun) render_begin(messages, pieces);
  next.begun = true;
  if (next.answer_open) {
    pieces.marks(kEnd);
    next.answer_ended();
  }
  const auto needs_mark = [&] {
    return rules.mark == AnswerMark::kWithAnswer ||
           (rules.mark == AnswerMark::kAfterUserOnly && next.last_is_user);
  };
  for (const ChatMessage& message : messages) {
    if (message.role == ChatRole::kUser) {
      pieces.marks(kUser);
      pieces.content(message.content);
      if (rules.mark == AnswerMark::kWithUser) pieces.marks(kAssistant);
      next.last_is_user = true;
    } else if (message.role == ChatRole::kAssistant) {
      if (needs_mark()) pieces.marks(str(kAssistant, rules.past_suffix));
      pieces.content(kept_answer(message.content, rules.cut));
      pieces.marks(kEnd);
      next.last_is_user = false;
    }
  }
  if (options.add_generation_prompt) {
    const bool has_mark = rules.mark == AnswerMark::kWithUser && next.last_is_user;
    if (needs_mark() || (rules.mark == AnswerMark::kWithUser && !has_mark)) {
      pieces.marks(str(kAssistant, options.thinking ? rules.open_thinking : rules.open_suffix));
    }
    next.answer_open = true;
  }
  state = next;
  return pieces.take();
}

void encode_chat(const Tokenizer& tokenizer, std::span<const ChatPiece> pieces,
                 std::vector<int32_t>& out) {
  std::vector<int32_t> ids;
  for (const ChatPiece& piece : pieces) {
    tokenizer.encode(piece.text, {.add_bos = false, .parse_special = piece.parse_special}, ids);
  }
  out.insert(out.end(), ids.begin(), ids.end());
}

}  // namespace dsv3
