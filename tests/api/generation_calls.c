// Goal: sequences, generations, events and steps do what the header says. Method: the same greedy
// text is made by push, by pull, in slices, after a cancel and with limits, and must be the same;
// every generation has exactly one END.
#include <math.h>

#include "api_check.h"

enum { kTokens = 24 };

typedef struct record {
  int32_t tokens[256];
  uint64_t token_count;
  char text[8192];
  uint64_t text_bytes;
  uint64_t ends;
  int32_t finish;
  uint64_t generated;
  uint64_t cancel_after;  // tokens; 0 = never
  int freed;
} record;

static void keep(record* seen, const dsv3_event* event) {
  CHECK(seen->ends == 0);  // nothing comes after END
  if (event->kind == DSV3_EVENT_TEXT) {
    CHECK(seen->text_bytes + event->text_bytes < sizeof seen->text);
    memcpy(seen->text + seen->text_bytes, event->text, event->text_bytes);
    seen->text_bytes += event->text_bytes;
  } else if (event->kind == DSV3_EVENT_TOKEN) {
    seen->tokens[seen->token_count++] = event->token;
    CHECK(event->logprob <= 0.0f);
  } else if (event->kind == DSV3_EVENT_END) {
    ++seen->ends;
    seen->finish = event->finish;
    seen->generated = event->generated;
  }
}

static int32_t on_event(void* user_data, const dsv3_event* event) {
  record* seen = user_data;
  keep(seen, event);
  return seen->cancel_after != 0 && seen->token_count >= seen->cancel_after;
}

static void on_free(void* user_data) { ++((record*)user_data)->freed; }

static dsv3_generate_options push_options(record* seen, uint64_t max_tokens) {
  dsv3_generate_options options = greedy_options(max_tokens);
  options.events = DSV3_EVENTS_TEXT | DSV3_EVENTS_TOKEN | DSV3_EVENTS_PREFILL;
  options.callback = on_event;
  options.user_data = seen;
  options.free_user_data = on_free;
  memset(seen, 0, sizeof *seen);
  return options;
}

static void check_same(const record* found, const record* wanted) {
  CHECK(found->ends == 1 && found->token_count == wanted->token_count);
  CHECK(memcmp(found->tokens, wanted->tokens, wanted->token_count * sizeof found->tokens[0]) == 0);
  CHECK(found->text_bytes == wanted->text_bytes);
  CHECK(memcmp(found->text, wanted->text, wanted->text_bytes) == 0);
}

static void test_push(dsv3_context* context, record* reference) {
  const dsv3_sequence sequence = start_text(context, "KING RICHARD:\n");
  uint64_t before = 0;
  CHECK_OK(context, dsv3_sequence_position(context, sequence, &before));
  const dsv3_generate_options options = push_options(reference, kTokens);
  int32_t finish = -1;
  CHECK_STATUS(DSV3_OK, context, sequence, dsv3_generate(context, sequence, &options, &finish));
  CHECK(finish == DSV3_FINISH_MAX_TOKENS && reference->finish == finish);
  CHECK(reference->ends == 1 && reference->freed == 1 && reference->token_count == kTokens);
  CHECK(reference->generated == kTokens && reference->text_bytes > 0);
  uint64_t after = 0;
  uint64_t left = 0;
  CHECK_OK(context, dsv3_sequence_position(context, sequence, &after));
  CHECK_OK(context, dsv3_sequence_tokens_left(context, sequence, &left));
  CHECK(after == before + kTokens && left + after == 2048);
  CHECK_OK(context, dsv3_sequence_destroy(context, sequence));
}

// Pull with the smallest ring, in time slices: it stalls, and nothing is lost.
static void test_pull(dsv3_context* context, const record* reference) {
  dsv3_sequence_options sequence_options;
  memset(&sequence_options, 0, sizeof sequence_options);
  sequence_options.struct_size = sizeof sequence_options;
  sequence_options.events_max = 8;
  dsv3_sequence sequence = 0;
  CHECK_OK(context, dsv3_sequence_create(context, &sequence_options, &sequence));
  CHECK_OK(context, dsv3_sequence_append_text(context, sequence, "KING RICHARD:\n", 14, 0));
  record seen;
  dsv3_generate_options options = push_options(&seen, kTokens);
  options.callback = NULL;
  CHECK_OK(context, dsv3_sequence_generate(context, sequence, &options));
  int stalled = 0;
  int partial = 0;
  while (seen.ends == 0) {
    int32_t state = -1;
    CHECK_OK(context, dsv3_step(context, 50, &state));
    stalled += state == DSV3_STEP_STALLED;
    partial += state == DSV3_STEP_PARTIAL;
    if (state != DSV3_STEP_STALLED && state != DSV3_STEP_IDLE) continue;
    for (;;) {
      const dsv3_event event = next_event(context, stalled % 2 ? 0 : sequence);
      if (event.kind == DSV3_EVENT_NONE) break;
      CHECK(event.sequence == sequence);
      keep(&seen, &event);
    }
  }
  CHECK(stalled > 0 && partial >= 0 && seen.freed == 1);
  check_same(&seen, reference);
  CHECK(next_event(context, sequence).kind == DSV3_EVENT_NONE);
  CHECK_OK(context, dsv3_sequence_destroy(context, sequence));
}

// The callback ends its own generation; the sequence goes on as if nothing had been.
static void test_cancel_and_continue(dsv3_context* context, const record* reference) {
  const dsv3_sequence sequence = start_text(context, "KING RICHARD:\n");
  record first;
  dsv3_generate_options options = push_options(&first, kTokens);
  first.cancel_after = 5;
  int32_t finish = -1;
  CHECK_STATUS(DSV3_OK, context, sequence, dsv3_generate(context, sequence, &options, &finish));
  CHECK(finish == DSV3_FINISH_CANCELLED && first.ends == 1 && first.freed == 1);
  CHECK(memcmp(first.tokens, reference->tokens, 5 * sizeof first.tokens[0]) == 0);
  uint64_t position = 0;
  CHECK_OK(context, dsv3_sequence_position(context, sequence, &position));
  CHECK(first.generated >= 5);
  record rest;
  options = push_options(&rest, kTokens - first.generated);
  CHECK_STATUS(DSV3_OK, context, sequence, dsv3_generate(context, sequence, &options, &finish));
  CHECK(memcmp(rest.tokens, reference->tokens + first.generated,
               rest.token_count * sizeof rest.tokens[0]) == 0);

  // Cancels from outside latch on the running generation and on no later one.
  options = push_options(&rest, 0);
  CHECK_OK(context, dsv3_sequence_cancel(context, sequence));
  CHECK_OK(context, dsv3_sequence_generate(context, sequence, &options));
  CHECK_OK(context, dsv3_step(context, 0, NULL));
  CHECK(rest.ends == 0);
  CHECK(dsv3_cancel(context) == DSV3_OK);
  CHECK_OK(context, dsv3_run(context, 0, 0, NULL));
  CHECK(rest.ends == 1 && rest.finish == DSV3_FINISH_CANCELLED && rest.freed == 1);
  CHECK_OK(context, dsv3_sequence_destroy(context, sequence));
}

static void test_interrupt(dsv3_context* context) {
  const dsv3_sequence sequence = start_text(context, "KING RICHARD:\n");
  record seen;
  const dsv3_generate_options options = push_options(&seen, kTokens);
  CHECK(dsv3_interrupt(context) == DSV3_OK);
  int32_t finish = -1;
  CHECK_STATUS(DSV3_OK, context, sequence, dsv3_generate(context, sequence, &options, &finish));
  CHECK(finish == DSV3_FINISH_NONE && seen.ends == 0);
  int32_t state = -1;
  CHECK_OK(context, dsv3_run(context, 0, 0, &state));
  CHECK(state == DSV3_STEP_IDLE && seen.finish == DSV3_FINISH_MAX_TOKENS);
  CHECK_OK(context, dsv3_run(context, 2000, DSV3_RUN_WAIT, &state));
  CHECK(state == DSV3_STEP_IDLE);
  CHECK_OK(context, dsv3_sequence_destroy(context, sequence));
}

// Logits agree with the greedy choice, and sampling them by hand gives the same tokens.
static void test_logits(dsv3_context* context, const record* reference) {
  static float logits[2048];
  const dsv3_sequence sequence = start_text(context, "KING RICHARD:\n");
  for (int i = 0; i < 6; ++i) {
    CHECK_STATUS(DSV3_OK, context, sequence, dsv3_sequence_logits(context, sequence, logits, 2048));
    int32_t best = 0;
    for (int32_t id = 1; id < 2048; ++id) {
      CHECK(isfinite(logits[id]));
      if (logits[id] > logits[best]) best = id;
    }
    if (i == 0) CHECK(best == reference->tokens[0]);
    CHECK_OK(context, dsv3_sequence_append_tokens(context, sequence, &best, 1));
  }
  CHECK_STATUS(DSV3_LIMIT, context, sequence,
               dsv3_sequence_logits(context, sequence, logits, 2047));
  CHECK_OK(context, dsv3_sequence_destroy(context, sequence));
}

static void test_stops(dsv3_context* context, const record* reference) {
  const dsv3_sequence sequence = start_text(context, "KING RICHARD:\n");
  record seen;
  dsv3_generate_options options = push_options(&seen, kTokens);
  options.stop_tokens = &reference->tokens[7];
  options.stop_token_count = 1;
  int32_t finish = -1;
  CHECK_STATUS(DSV3_OK, context, sequence, dsv3_generate(context, sequence, &options, &finish));
  CHECK(finish == DSV3_FINISH_STOP && seen.token_count <= 8);
  CHECK_OK(context, dsv3_sequence_destroy(context, sequence));

  const dsv3_sequence other = start_text(context, "KING RICHARD:\n");
  const dsv3_text stop = {reference->text + 10, 3};
  options = push_options(&seen, kTokens);
  options.stop_strings = &stop;
  options.stop_string_count = 1;
  CHECK_STATUS(DSV3_OK, context, other, dsv3_generate(context, other, &options, &finish));
  CHECK(finish == DSV3_FINISH_STOP && seen.text_bytes <= 10);
  CHECK(memcmp(seen.text, reference->text, seen.text_bytes) == 0);
  CHECK_OK(context, dsv3_sequence_destroy(context, other));
}

static void test_sampling(dsv3_context* context) {
  record first;
  record second;
  for (int round = 0; round < 2; ++round) {
    record* seen = round == 0 ? &first : &second;
    const dsv3_sequence sequence = start_text(context, "KING RICHARD:\n");
    dsv3_generate_options options = push_options(seen, kTokens);
    options.temperature = 1.0f;
    options.seed = 42;
    options.top_logprobs = 3;
    CHECK_STATUS(DSV3_OK, context, sequence, dsv3_generate(context, sequence, &options, NULL));
    CHECK_OK(context, dsv3_sequence_destroy(context, sequence));
  }
  check_same(&second, &first);  // equal seeds, equal tokens
}

int main(int argc, char** argv) {
  dsv3_context* context = open_model(model_folder(argc, argv));
  static record reference;
  test_push(context, &reference);
  test_pull(context, &reference);
  test_cancel_and_continue(context, &reference);
  test_interrupt(context);
  test_logits(context, &reference);
  test_stops(context, &reference);
  test_sampling(context);
  dsv3_threads threads;
  memset(&threads, 0, sizeof threads);
  threads.struct_size = sizeof threads;
  threads.count = 1;
  CHECK_OK(context, dsv3_context_set_threads(context, &threads));
  record alone;
  test_push(context, &alone);
  check_same(&alone, &reference);
  CHECK(dsv3_context_destroy(context) == DSV3_OK);
  return 0;
}
