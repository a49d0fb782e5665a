// A chat in the terminal: chat MODEL_FOLDER. Ctrl-C ends the answer, not the program; Ctrl-D ends
// both. A model without a chat format that the library knows completes what you type instead.
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "dsv3.h"

typedef struct conversation {
  dsv3_context* context;
  dsv3_sequence sequence;
  int has_format;  // 0: plain completion
  int in_reasoning;
  uint64_t generated;  // tokens of the last answer
} conversation;

// What the signal handler cancels: dsv3_cancel is of class ANY.
static dsv3_context* interrupted_context = NULL;
static volatile sig_atomic_t interrupted = 0;

static void on_interrupt(int number) {
  signal(number, on_interrupt);
  interrupted = 1;
  dsv3_cancel(interrupted_context);
}

static int32_t on_progress(void* user_data, uint64_t bytes_done, uint64_t bytes_total) {
  (void)user_data;
  const uint64_t percent = bytes_total == 0 ? 100 : bytes_done * 100 / bytes_total;
  fprintf(stderr, "\rloading %3" PRIu64 " %%", percent);
  return 0;
}

static void print_error(const conversation* chat, dsv3_status status) {
  char message[1000] = "";
  if (chat->context != NULL) {
    dsv3_context_error(chat->context, chat->sequence, message, sizeof message, NULL);
  }
  fprintf(stderr, "\n%s: %s\n", dsv3_status_name(status), message);
}

static uint64_t busy_us(const conversation* chat) {
  dsv3_stats stats;
  stats.struct_size = sizeof stats;
  return dsv3_context_stats(chat->context, &stats) == DSV3_OK ? stats.busy_us : 0;
}

static void print_text(conversation* chat, const dsv3_event* event) {
  const int is_reasoning = event->channel == DSV3_CHANNEL_REASONING;
  if (is_reasoning != chat->in_reasoning) fputs(is_reasoning ? "(thinking) " : "\n\n", stdout);
  chat->in_reasoning = is_reasoning;
  fwrite(event->text, 1, event->text_bytes, stdout);
  fflush(stdout);
}

static const char* finish_text(int32_t finish) {
  switch (finish) {
    case DSV3_FINISH_CANCELLED:
      return ", cancelled";
    case DSV3_FINISH_CONTEXT_FULL:
      return ", the context is full";
    case DSV3_FINISH_MAX_TOKENS:
      return ", cut";
    default:
      return "";
  }
}

static int32_t on_event(void* user_data, const dsv3_event* event) {
  conversation* chat = user_data;
  if (event->kind == DSV3_EVENT_TEXT) print_text(chat, event);
  if (event->kind != DSV3_EVENT_END) return 0;
  if (event->finish == DSV3_FINISH_ERROR) print_error(chat, event->status);
  printf("\n[%" PRIu64 " tokens%s", event->generated, finish_text(event->finish));
  chat->generated = event->generated;
  return 0;
}

static dsv3_status append(conversation* chat, const char* text, uint64_t text_bytes) {
  if (!chat->has_format) {
    return dsv3_sequence_append_text(chat->context, chat->sequence, text, text_bytes, 0);
  }
  dsv3_message message;
  message.struct_size = sizeof message;
  message.role = DSV3_ROLE_USER;
  message.content = text;
  message.content_bytes = text_bytes;
  return dsv3_sequence_append_chat(chat->context, chat->sequence, &message, 1, DSV3_CHAT_REPLY);
}

static dsv3_status answer(conversation* chat, const char* text, uint64_t text_bytes) {
  const dsv3_status status = append(chat, text, text_bytes);
  if (status != DSV3_OK) return status;

  dsv3_generate_options options;
  dsv3_generate_options_init(&options, sizeof options);
  options.max_tokens = chat->has_format ? 0 : 200;
  options.callback = on_event;
  options.user_data = chat;
  chat->in_reasoning = 0;
  const uint64_t before_us = busy_us(chat);
  const dsv3_status generated = dsv3_generate(chat->context, chat->sequence, &options, NULL);
  if (generated != DSV3_OK) return generated;
  const double seconds = (double)(busy_us(chat) - before_us) * 1e-6;
  printf(", %.1f tokens per second]\n", seconds > 0 ? (double)chat->generated / seconds : 0.0);
  return DSV3_OK;
}

// Reads lines until the end of the input.
static void talk(conversation* chat) {
  char line[8192];
  for (;;) {
    interrupted = 0;
    printf("\n> ");
    fflush(stdout);
    if (fgets(line, sizeof line, stdin) == NULL) {
      if (!interrupted || feof(stdin)) return;  // Ctrl-D
      clearerr(stdin);
      continue;
    }
    size_t bytes = strlen(line);
    if (chat->has_format && bytes > 0 && line[bytes - 1] == '\n') --bytes;
    if (bytes == 0 || line[0] == '\n') continue;
    const dsv3_status status = answer(chat, line, bytes);
    if (status != DSV3_OK) print_error(chat, status);
    if (status == DSV3_FAULTED) return;
  }
}

static dsv3_status open_model(conversation* chat, const char* folder) {
  dsv3_progress progress;
  memset(&progress, 0, sizeof progress);
  progress.struct_size = sizeof progress;
  progress.report = on_progress;
  dsv3_context_options options;
  dsv3_context_options_init(&options, sizeof options);
  options.model_path = folder;
  options.model_path_bytes = strlen(folder);
  options.follow_links = 1;  // the folder is the user's own choice
  options.progress = &progress;
  dsv3_status status = dsv3_context_create(&options, &chat->context);
  if (status != DSV3_OK) return status;
  interrupted_context = chat->context;
  signal(SIGINT, on_interrupt);
  status = dsv3_context_load(chat->context, 0, NULL);
  if (status != DSV3_OK) return status;

  dsv3_info info;
  info.struct_size = sizeof info;
  status = dsv3_context_info(chat->context, &info);
  if (status != DSV3_OK) return status;
  chat->has_format = info.chat != NULL;
  fprintf(stderr, "\r%s, %u layers, %s, %u threads, %u tokens of context, %s\n", info.family,
          info.layers, info.device, info.threads, info.context_tokens,
          info.chat != NULL ? info.chat : "no chat format: completing text");
  return dsv3_sequence_create(chat->context, NULL, &chat->sequence);
}

int main(int argc, char** argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: %s MODEL_FOLDER\n", argv[0]);
    return 2;
  }
  conversation chat = {NULL, 0, 0, 0, 0};
  const dsv3_status status = open_model(&chat, argv[1]);
  if (status == DSV3_OK) {
    talk(&chat);
  } else {
    print_error(&chat, status);
  }
  signal(SIGINT, SIG_DFL);
  dsv3_context_destroy(chat.context);
  return status != DSV3_OK;
}
