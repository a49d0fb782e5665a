// Goal: text and tokens turn into each other as the header says, and chats are refused by name
// where the model has no format. Method: round trips, exact buffer sizes, flags, invalid UTF-8.
#include "api_check.h"

static void test_round_trip(dsv3_context* context) {
  static const char text[] =
      "First Citizen:\nBefore we proceed any further, hear me \xC3\xA9speak.\n";
  const uint64_t bytes = sizeof text - 1;
  uint64_t count = 0;
  CHECK_STATUS(DSV3_LIMIT, context, 0, dsv3_tokenize(context, text, bytes, 0, NULL, 0, &count));
  CHECK(count > 4 && count < bytes);
  int32_t tokens[200];
  memset(tokens, -1, sizeof tokens);
  uint64_t again = 0;
  CHECK_STATUS(DSV3_LIMIT, context, 0,
               dsv3_tokenize(context, text, bytes, 0, tokens, count - 1, &again));
  CHECK(again == count && tokens[0] == -1);  // nothing written
  CHECK_OK(context, dsv3_tokenize(context, text, bytes, 0, tokens, count, &again));
  CHECK(again == count && tokens[0] == 0);  // the begin token

  int32_t bare[200];
  uint64_t bare_count = 0;
  CHECK_OK(context, dsv3_tokenize(context, text, bytes, DSV3_TEXT_NO_BOS, bare, 200, &bare_count));
  CHECK(bare_count == count - 1 && memcmp(bare, tokens + 1, bare_count * sizeof bare[0]) == 0);

  char out[200];
  uint64_t out_bytes = 0;
  CHECK_STATUS(DSV3_LIMIT, context, 0,
               dsv3_detokenize(context, tokens, count, 0, out, bytes - 1, &out_bytes));
  CHECK(out_bytes == bytes);
  CHECK_OK(context, dsv3_detokenize(context, tokens, count, 0, out, bytes, &out_bytes));
  CHECK(out_bytes == bytes && memcmp(out, text, bytes) == 0);
  CHECK_OK(context,
           dsv3_detokenize(context, tokens, count, DSV3_TEXT_SPECIAL, out, sizeof out, &out_bytes));
  CHECK(out_bytes > bytes && memcmp(out + out_bytes - bytes, text, bytes) == 0);
}

static void test_special(dsv3_context* context) {
  char end_text[100];
  uint64_t end_bytes = 0;
  const int32_t end = 1;
  CHECK_OK(context, dsv3_detokenize(context, &end, 1, DSV3_TEXT_SPECIAL, end_text, sizeof end_text,
                                    &end_bytes));
  int32_t tokens[100];
  uint64_t count = 0;
  CHECK_OK(context, dsv3_tokenize(context, end_text, end_bytes,
                                  DSV3_TEXT_NO_BOS | DSV3_TEXT_SPECIAL, tokens, 100, &count));
  CHECK(count == 1 && tokens[0] == end);
  CHECK_OK(context,
           dsv3_tokenize(context, end_text, end_bytes, DSV3_TEXT_NO_BOS, tokens, 100, &count));
  CHECK(count > 1);  // what a user wrote stays text
}

static void test_edges(dsv3_context* context) {
  uint64_t count = 99;
  CHECK_OK(context, dsv3_tokenize(context, NULL, 0, DSV3_TEXT_NO_BOS, NULL, 0, &count));
  CHECK(count == 0);
  CHECK_OK(context, dsv3_detokenize(context, NULL, 0, 0, NULL, 0, &count));
  CHECK(count == 0);
  CHECK_STATUS(DSV3_INVALID_ARGUMENT, context, 0,
               dsv3_tokenize(context, "a\xFF", 2, 0, NULL, 0, &count));
  CHECK_STATUS(DSV3_INVALID_ARGUMENT, context, 0,
               dsv3_tokenize(context, "a", 1, 4, NULL, 0, &count));
  CHECK_STATUS(DSV3_INVALID_ARGUMENT, context, 0,
               dsv3_tokenize(context, NULL, 1, 0, NULL, 0, &count));
  CHECK_STATUS(DSV3_LIMIT, context, 0, dsv3_tokenize(context, "a", UINT64_MAX, 0, NULL, 0, &count));
  const int32_t ids[2] = {-1, 1 << 30};
  CHECK_STATUS(DSV3_INVALID_ARGUMENT, context, 0,
               dsv3_detokenize(context, ids, 1, 0, NULL, 0, &count));
  CHECK_STATUS(DSV3_INVALID_ARGUMENT, context, 0,
               dsv3_detokenize(context, ids + 1, 1, 0, NULL, 0, &count));
  CHECK_STATUS(DSV3_LIMIT, context, 0,
               dsv3_detokenize(context, ids, UINT64_MAX, 0, NULL, 0, &count));
}

static void test_chat(dsv3_context* context) {
  dsv3_message message;
  memset(&message, 0, sizeof message);
  message.struct_size = sizeof message;
  message.role = DSV3_ROLE_USER;
  message.content = "Hello";
  message.content_bytes = 5;
  dsv3_info info;
  info.struct_size = sizeof info;
  CHECK_OK(context, dsv3_context_info(context, &info));
  uint64_t bytes = 0;
  const dsv3_status wanted = info.chat == NULL ? DSV3_UNSUPPORTED : DSV3_LIMIT;
  CHECK_STATUS(wanted, context, 0,
               dsv3_chat_render(context, &message, 1, DSV3_CHAT_REPLY, NULL, 0, &bytes));
  message.role = 4;
  CHECK_STATUS(DSV3_INVALID_ARGUMENT, context, 0,
               dsv3_chat_render(context, &message, 1, 0, NULL, 0, &bytes));
  CHECK_STATUS(DSV3_INVALID_ARGUMENT, context, 0,
               dsv3_chat_render(context, NULL, 1, 0, NULL, 0, &bytes));
  CHECK_STATUS(DSV3_LIMIT, context, 0,
               dsv3_chat_render(context, &message, UINT64_MAX, 0, NULL, 0, &bytes));
}

int main(int argc, char** argv) {
  dsv3_context* context = open_model(model_folder(argc, argv));
  test_round_trip(context);
  test_special(context);
  test_edges(context);
  test_chat(context);
  CHECK(dsv3_context_destroy(context) == DSV3_OK);
  return 0;
}
