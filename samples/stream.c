// Streams a text: stream MODEL_FOLDER [PROMPT]
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "dsv3.h"

// Gets every event of the generation while dsv3_generate runs; non-zero would cancel it.
static int32_t on_event(void* user_data, const dsv3_event* event) {
  (void)user_data;
  if (event->kind == DSV3_EVENT_TEXT) fwrite(event->text, 1, event->text_bytes, stdout);
  if (event->kind == DSV3_EVENT_END) printf("\n[%" PRIu64 " tokens]\n", event->generated);
  return fflush(stdout) != 0;
}

static dsv3_status stream(dsv3_context* context, const char* prompt, dsv3_sequence* sequence) {
  dsv3_status status = dsv3_context_load(context, 0, NULL);
  if (status == DSV3_OK) status = dsv3_sequence_create(context, NULL, sequence);
  if (status == DSV3_OK) {
    status = dsv3_sequence_append_text(context, *sequence, prompt, strlen(prompt), 0);
  }
  if (status != DSV3_OK) return status;
  fputs(prompt, stdout);

  dsv3_generate_options options;
  dsv3_generate_options_init(&options, sizeof options);
  options.max_tokens = 200;
  options.callback = on_event;
  return dsv3_generate(context, *sequence, &options, NULL);
}

int main(int argc, char** argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: %s MODEL_FOLDER [PROMPT]\n", argv[0]);
    return 2;
  }
  dsv3_context_options options;
  dsv3_context_options_init(&options, sizeof options);
  options.model_path = argv[1];
  options.model_path_bytes = strlen(argv[1]);

  dsv3_context* context = NULL;
  dsv3_sequence sequence = 0;
  dsv3_status status = dsv3_context_create(&options, &context);
  if (status == DSV3_OK) status = stream(context, argc > 2 ? argv[2] : "ROMEO:\n", &sequence);
  if (status != DSV3_OK) {
    char message[500] = "";
    if (context != NULL) dsv3_context_error(context, sequence, message, sizeof message, NULL);
    fprintf(stderr, "%s: %s\n", dsv3_status_name(status), message);
  }
  dsv3_context_destroy(context);
  return status != DSV3_OK;
}
