// Which of the known chat templates is this Jinja text?
#include <string>

#include "text/chat.h"

namespace dsv3 {
namespace {

// Layout differs between copies of one template: white space goes, quotes become one kind.
std::string without_layout(std::string_view jinja) {
  std::string out;
  out.reserve(jinja.size());
  for (const char c : jinja) {
    if (c == ' ' || c == '\n' || c == '\r' || c == '\t') continue;
    out.push_back(c == '"' ? '\'' : c);
  }
  return out;
}

}  // namespace

std::string_view chat_template_name(ChatTemplate chat_template) {
  switch (chat_template) {
    case ChatTemplate::kNone:
      return "none";
    case ChatTemplate::kUnknown:
      break;
    case ChatTemplate::kV3:
      return "deepseek-v3";
    case ChatTemplate::kV3_0324:
      return "deepseek-v3-0324";
    case ChatTemplate::kR1:
      return "deepseek-r1";
    case ChatTemplate::kR1_0528:
      return "deepseek-r1-0528";
    case ChatTemplate::kV31:
      return "deepseek-v3.1";
  }
  return "unknown";
}

ChatTemplate detect_chat_template(std::string_view jinja) {
  if (jinja.empty()) return ChatTemplate::kNone;
  const std::string text = without_layout(jinja);
  const auto has = [&](std::string_view part) { return text.find(part) != std::string::npos; };

  // What all of them have: system text in front, U+FF5C in the marks, the end of a turn.
  const bool is_family = has("{{bos_token}}{{ns.system_prompt}}") &&
                         has("{{'<\xEF\xBD\x9CUser\xEF\xBD\x9C>'+") &&
                         has("+'<\xEF\xBD\x9C"
                             "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>'}}");
  if (!is_family || has("enable_thinking") || has("is_only_sys")) return ChatTemplate::kUnknown;

  const bool mark_with_user =
      has("+'<\xEF\xBD\x9C"
          "Assistant\xEF\xBD\x9C>'}}");
  const bool mark_with_answer =
      has("{{'<\xEF\xBD\x9C"
          "Assistant\xEF\xBD\x9C>'+");
  const bool opens_thinking = has("<\xEF\xBD\x9C"
                                  "Assistant\xEF\xBD\x9C><think>\\n'}}") ||
                              has("<\xEF\xBD\x9C"
                                  "Assistant\xEF\xBD\x9C><think>'}}");
  const bool keeps_after_last = has(".split('</think>')[-1]");
  if (has("ifnotthinking") && has(".split('</think>',1)[1]") && has("ns.is_last_user") &&
      has("{{'<think>'}}") && !mark_with_user) {
    return ChatTemplate::kV31;
  }
  if (opens_thinking && keeps_after_last && mark_with_answer) return ChatTemplate::kR1;
  if (has("<think>")) return ChatTemplate::kUnknown;
  if (keeps_after_last) {
    return mark_with_user && has("ns.is_last_user") ? ChatTemplate::kR1_0528
                                                    : ChatTemplate::kUnknown;
  }
  if (has("think>")) return ChatTemplate::kUnknown;
  if (mark_with_user && has("ns.is_last_user")) return ChatTemplate::kV3_0324;
  return mark_with_answer ? ChatTemplate::kV3 : ChatTemplate::kUnknown;
}

}  // namespace dsv3
