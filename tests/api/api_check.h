// Shared by the C programs of this folder: checks that name their line, and the model they run on.
#ifndef DSV3_TESTS_API_CHECK_H
#define DSV3_TESTS_API_CHECK_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dsv3.h"

#define CHECK(condition)                                                       \
  do {                                                                         \
    if (!(condition)) {                                                        \
      fprintf(stderr, "%s:%d: %s is false\n", __FILE__, __LINE__, #condition); \
      exit(1);                                                                 \
    }                                                                          \
  } while (0)

// The call answers `wanted`; otherwise its message is printed.
#define CHECK_STATUS(wanted, context, sequence, call)                                        \
  do {                                                                                       \
    const dsv3_status found_ = (call);                                                       \
    if (found_ != (wanted)) {                                                                \
      char message_[1000] = "";                                                              \
      if (dsv3_context_error(context, sequence, message_, sizeof message_, NULL) != DSV3_OK) \
        dsv3_context_error(context, 0, message_, sizeof message_, NULL);                     \
      fprintf(stderr, "%s:%d: %s: found %s, wanted %s: %s\n", __FILE__, __LINE__, #call,     \
              dsv3_status_name(found_), dsv3_status_name(wanted), message_);                 \
      exit(1);                                                                               \
    }                                                                                        \
  } while (0)

#define CHECK_OK(context, call) CHECK_STATUS(DSV3_OK, context, 0, call)

static inline const char* model_folder(int argc, char** argv) {
  return argc > 1 ? argv[1] : DSV3_SAMPLE_MODEL;
}

static inline dsv3_context_options folder_options(const char* folder) {
  dsv3_context_options options;
  CHECK(dsv3_context_options_init(&options, sizeof options) == DSV3_OK);
  options.model_path = folder;
  options.model_path_bytes = strlen(folder);
  return options;
}

static inline dsv3_context* open_model(const char* folder) {
  const dsv3_context_options options = folder_options(folder);
  dsv3_context* context = NULL;
  CHECK_OK(context, dsv3_context_create(&options, &context));
  CHECK_OK(context, dsv3_context_load(context, 0, NULL));
  return context;
}

static inline dsv3_sequence start_text(dsv3_context* context, const char* text) {
  dsv3_sequence sequence = 0;
  CHECK_OK(context, dsv3_sequence_create(context, NULL, &sequence));
  CHECK_STATUS(DSV3_OK, context, sequence,
               dsv3_sequence_append_text(context, sequence, text, strlen(text), 0));
  return sequence;
}

static inline dsv3_generate_options greedy_options(uint64_t max_tokens) {
  dsv3_generate_options options;
  CHECK(dsv3_generate_options_init(&options, sizeof options) == DSV3_OK);
  options.temperature = 0.0f;
  options.max_tokens = max_tokens;
  return options;
}

static inline dsv3_event next_event(dsv3_context* context, dsv3_sequence sequence) {
  dsv3_event event;
  event.struct_size = sizeof event;
  CHECK_STATUS(DSV3_OK, context, sequence, dsv3_next_event(context, sequence, &event));
  return event;
}

#endif  // DSV3_TESTS_API_CHECK_H
