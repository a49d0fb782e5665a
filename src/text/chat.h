// How do messages become a prompt? The family's chat templates for plain turns, chosen by the
// checkpoint's own template text.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace dsv3 {

enum class ChatTemplate : uint8_t {
  kNone,     // the checkpoint has no template
  kUnknown,  // it has one that we do not know
  kV3,
  kV3_0324,
  kR1,
  kR1_0528,
  kV31,
};

std::string_view chat_template_name(ChatTemplate chat_template);

// By the expressions that the published templates are made of; never by the model's name.
ChatTemplate detect_chat_template(std::string_view jinja);

enum class ChatRole : uint8_t { kSystem, kUser, kAssistant, kTool };

struct ChatMessage {
  ChatRole role;
  std::string_view content;
};

// Part of a prompt. Template text is encoded with control tokens recognised; content is not, so
// that no message can speak for somebody else.
struct ChatPiece {
  std::string text;
  bool parse_special;
};

// What a sequence holds of the conversation so far.
struct ChatState {
  bool begun = false;  // the begin token and the system text are there
  bool last_is_user = false;
  bool answer_open =
      false;  // an assistant turn was begun for the model and its end token is missing

  // To be called when the end token of the model's turn went into the sequence.
  void answer_ended() {
    answer_open = false;
    last_is_user = false;
  }
};

struct ChatOptions {
  bool add_generation_prompt = true;
  bool thinking = false;  // V3.1 only: which of its two modes the generation prompt opens
};

// Renders what `messages` add to a conversation in `state` and moves the state on. A turn left open
// is closed first. System messages are collected and stand in front, so they are INVALID_ARGUMENT
// once the conversation has begun. UNSUPPORTED: no or unknown template, tool messages. The state is
// unchanged when this throws.
std::vector<ChatPiece> render_chat(ChatTemplate chat_template,
                                   std::span<const ChatMessage> messages,
                                   const ChatOptions& options, ChatState& state);

// Appends the ids of rendered pieces, without a further begin token; on failure `out` is as before.
void encode_chat(const Tokenizer& tokenizer, std::span<const ChatPiece> pieces,
                 std::vector<int32_t>& out);

}  // namespace dsv3
