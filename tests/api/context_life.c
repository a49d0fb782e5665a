// Goal: a context lives as the header says: create, plan, stepped load, cancel, reload, info,
// stats, other sources of files, destroy. Method: drive each on the shipped model and look at every
// result.
#include "api_check.h"

typedef struct watch {
  uint64_t calls;
  uint64_t last_done;
  uint64_t last_total;
  uint64_t cancel_at;  // 0 = never
  int freed;
} watch;

static int32_t on_progress(void* user_data, uint64_t bytes_done, uint64_t bytes_total) {
  watch* seen = user_data;
  CHECK(bytes_done >= seen->last_done && bytes_done <= bytes_total);
  seen->last_done = bytes_done;
  seen->last_total = bytes_total;
  ++seen->calls;
  return seen->cancel_at != 0 && seen->calls >= seen->cancel_at;
}

static void on_free(void* user_data) { ++((watch*)user_data)->freed; }

static dsv3_progress progress_to(watch* seen) {
  dsv3_progress progress;
  memset(&progress, 0, sizeof progress);
  progress.struct_size = sizeof progress;
  progress.report = on_progress;
  progress.user_data = seen;
  progress.free_user_data = on_free;
  return progress;
}

static int32_t state_of(dsv3_context* context) {
  dsv3_info info;
  info.struct_size = sizeof info;
  CHECK_OK(context, dsv3_context_info(context, &info));
  return info.state;
}

static dsv3_stats stats_of(dsv3_context* context) {
  dsv3_stats stats;
  stats.struct_size = sizeof stats;
  CHECK_OK(context, dsv3_context_stats(context, &stats));
  return stats;
}

static void create_all_sequences(dsv3_context* context) {
  dsv3_info info;
  info.struct_size = sizeof info;
  CHECK_OK(context, dsv3_context_info(context, &info));
  for (uint32_t i = 0; i < info.sequences_max; ++i) {
    dsv3_sequence sequence = 0;
    CHECK_OK(context, dsv3_sequence_create(context, NULL, &sequence));
  }
}

// Plan before, load in slices, plan after: the plan is what the load takes.
static void test_plan_and_slices(const char* folder) {
  watch seen = {0, 0, 0, 0, 0};
  const dsv3_progress progress = progress_to(&seen);
  dsv3_context_options options = folder_options(folder);
  options.progress = &progress;
  options.weights = DSV3_WEIGHTS_COPY;
  dsv3_context* context = NULL;
  CHECK_OK(context, dsv3_context_create(&options, &context));
  CHECK(state_of(context) == DSV3_CONTEXT_CREATED);
  dsv3_plan plan;
  plan.struct_size = sizeof plan;
  CHECK_OK(context, dsv3_context_plan(context, &plan));
  CHECK(plan.fits == 1 && plan.ceiling_bytes == 0 && plan.weights_mapped_bytes == 0);
  CHECK(plan.weights_copied_bytes > 1000000 && plan.cache_bytes > 0 && plan.workspace_bytes > 0);
  CHECK(plan.total_bytes == plan.weights_copied_bytes + plan.cache_bytes + plan.workspace_bytes);
  CHECK(stats_of(context).memory_bytes == 0);

  int32_t done = 0;
  uint64_t slices = 0;
  while (!done) {
    CHECK_OK(context, dsv3_context_load(context, 1, &done));
    CHECK(state_of(context) == (done ? DSV3_CONTEXT_READY : DSV3_CONTEXT_LOADING));
    ++slices;
  }
  CHECK(slices > 4);
  CHECK(seen.calls > 1 && seen.last_total > 0 && seen.last_done == seen.last_total);
  create_all_sequences(context);
  CHECK(stats_of(context).memory_bytes <= plan.total_bytes);
  CHECK(stats_of(context).memory_bytes * 1000 >= plan.total_bytes * 999);
  dsv3_plan after;
  after.struct_size = sizeof after;
  CHECK_OK(context, dsv3_context_plan(context, &after));
  CHECK(after.total_bytes == plan.total_bytes && after.cache_tokens == plan.cache_tokens);
  done = 0;
  CHECK_OK(context, dsv3_context_load(context, 0, &done));
  CHECK(done == 1);
  CHECK(seen.freed == 0);
  CHECK(dsv3_context_destroy(context) == DSV3_OK);
  CHECK(seen.freed == 1);
}

// A cancelled load leaves nothing and can be done again.
static void test_cancelled_load(const char* folder) {
  watch seen = {0, 0, 0, 2, 0};
  const dsv3_progress progress = progress_to(&seen);
  dsv3_context_options options = folder_options(folder);
  options.progress = &progress;
  dsv3_context* context = NULL;
  CHECK_OK(context, dsv3_context_create(&options, &context));
  CHECK_STATUS(DSV3_CANCELLED, context, 0, dsv3_context_load(context, 0, NULL));
  CHECK(state_of(context) == DSV3_CONTEXT_CREATED && stats_of(context).memory_bytes == 0);
  seen.cancel_at = 0;
  seen.last_done = 0;

  CHECK(dsv3_cancel(context) == DSV3_OK);  // nothing has begun: nothing is cancelled
  int32_t done = 0;
  CHECK_OK(context, dsv3_context_load(context, 1, &done));
  CHECK(!done);
  CHECK(dsv3_cancel(context) == DSV3_OK);
  CHECK_STATUS(DSV3_CANCELLED, context, 0, dsv3_context_load(context, 0, NULL));
  CHECK(stats_of(context).memory_bytes == 0);
  seen.last_done = 0;
  CHECK_OK(context, dsv3_context_load(context, 0, &done));
  CHECK(done == 1 && state_of(context) == DSV3_CONTEXT_READY);
  CHECK(dsv3_context_destroy(context) == DSV3_OK);
}

static void test_ceiling(const char* folder) {
  dsv3_device device;
  memset(&device, 0, sizeof device);
  device.struct_size = sizeof device;
  device.bytes_max = 100000;
  dsv3_context_options options = folder_options(folder);
  options.devices = &device;
  options.device_count = 1;
  dsv3_context* context = NULL;
  CHECK_OK(context, dsv3_context_create(&options, &context));
  dsv3_plan plan;
  plan.struct_size = sizeof plan;
  CHECK_OK(context, dsv3_context_plan(context, &plan));
  CHECK(plan.fits == 0 && plan.ceiling_bytes == 100000);
  CHECK_STATUS(DSV3_LIMIT, context, 0, dsv3_context_load(context, 0, NULL));
  CHECK(dsv3_context_destroy(context) == DSV3_OK);

  // A ceiling of just what the plan says holds everything.
  device.bytes_max = plan.total_bytes;
  CHECK_OK(context, dsv3_context_create(&options, &context));
  CHECK_OK(context, dsv3_context_load(context, 0, NULL));
  create_all_sequences(context);
  CHECK(dsv3_context_destroy(context) == DSV3_OK);

  device.bytes_max = plan.total_bytes + (1 << 20);
  CHECK_OK(context, dsv3_context_create(&options, &context));
  CHECK_OK(context, dsv3_context_load(context, 0, NULL));
  CHECK(stats_of(context).memory_bytes_peak <= device.bytes_max);
  CHECK(dsv3_context_destroy(context) == DSV3_OK);
}

static void test_info(const char* folder) {
  dsv3_context* context = open_model(folder);
  dsv3_info info;
  info.struct_size = sizeof info;
  CHECK_OK(context, dsv3_context_info(context, &info));
  CHECK(strcmp(info.family, "deepseek_v3") == 0 && strncmp(info.device, "cpu ", 4) == 0);
  CHECK(info.has_text == 1 && info.bos_token == 0 && info.vocab_size == 2048);
  CHECK(info.hidden_size == 256 && info.layers == 4 && info.mtp_layers == 1);
  CHECK(info.experts == 16 && info.experts_per_token == 4 && info.context_tokens == 2048);
  CHECK(info.sequences_max == 16 && info.step_tokens_max == 256 && info.threads >= 1);
  CHECK(info.cache_tokens >= info.context_tokens && info.speculation == 0);
  CHECK(info.temperature > 0.0f && info.top_p > 0.0f && info.top_p <= 1.0f);
  CHECK(dsv3_context_destroy(context) == DSV3_OK);
}

// --- files from memory and through dsv3_io ---

typedef struct loaded_file {
  const char* name;
  unsigned char* data;
  uint64_t bytes;
} loaded_file;

typedef struct store {
  loaded_file files[5];
  uint64_t reads;
  int open_files;
  int freed;
  int32_t fail_read;
} store;

static loaded_file read_whole(const char* folder, const char* name) {
  loaded_file out = {name, NULL, 0};
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE* file = fopen(path, "rb");
  CHECK(file != NULL);
  CHECK(fseek(file, 0, SEEK_END) == 0);
  out.bytes = (uint64_t)ftell(file);
  rewind(file);
  out.data = malloc(out.bytes);
  CHECK(out.data != NULL && fread(out.data, 1, out.bytes, file) == out.bytes);
  fclose(file);
  return out;
}

static int32_t store_open(void* user_data, const char* name, void** out_file) {
  store* files = user_data;
  for (int i = 0; i < 5; ++i) {
    if (strcmp(files->files[i].name, name) != 0) continue;
    *out_file = &files->files[i];
    ++files->open_files;
    return 0;
  }
  return DSV3_IO_ABSENT;
}

static int32_t store_size(void* user_data, void* file, uint64_t* out_bytes) {
  (void)user_data;
  *out_bytes = ((loaded_file*)file)->bytes;
  return 0;
}

static int32_t store_read(void* user_data, void* file, uint64_t offset, void* out, uint64_t bytes) {
  store* files = user_data;
  const loaded_file* from = file;
  CHECK(offset <= from->bytes && bytes <= from->bytes - offset);
  ++files->reads;
  if (files->fail_read) return 5;
  memcpy(out, from->data + offset, bytes);
  return 0;
}

static void store_close(void* user_data, void* file) {
  (void)file;
  --((store*)user_data)->open_files;
}

static void store_free(void* user_data) { ++((store*)user_data)->freed; }

static int32_t first_greedy_token(dsv3_context* context) {
  const dsv3_sequence sequence = start_text(context, "ROMEO:\n");
  dsv3_generate_options options = greedy_options(1);
  options.events = DSV3_EVENTS_TOKEN;
  CHECK_STATUS(DSV3_OK, context, sequence, dsv3_generate(context, sequence, &options, NULL));
  const dsv3_event event = next_event(context, sequence);
  CHECK(event.kind == DSV3_EVENT_TOKEN);
  return event.token;
}

static void test_other_sources(const char* folder) {
  static const char* const names[] = {"config.json", "generation_config.json", "model.safetensors",
                                      "tokenizer.json", "tokenizer_config.json"};
  dsv3_context* context = open_model(folder);
  const int32_t wanted = first_greedy_token(context);
  CHECK(dsv3_context_destroy(context) == DSV3_OK);

  store files;
  memset(&files, 0, sizeof files);
  dsv3_file list[5];
  for (int i = 0; i < 5; ++i) {
    files.files[i] = read_whole(folder, names[i]);
    list[i].name = names[i];
    list[i].name_bytes = strlen(names[i]);
    list[i].data = files.files[i].data;
    list[i].data_bytes = files.files[i].bytes;
  }
  dsv3_context_options options = folder_options(folder);
  options.model_path = NULL;
  options.model_path_bytes = 0;
  options.files = list;
  options.file_count = 5;
  CHECK_OK(context, dsv3_context_create(&options, &context));
  CHECK_OK(context, dsv3_context_load(context, 0, NULL));
  CHECK(first_greedy_token(context) == wanted);
  CHECK(dsv3_context_destroy(context) == DSV3_OK);

  dsv3_io io;
  memset(&io, 0, sizeof io);
  io.struct_size = sizeof io;
  io.open = store_open;
  io.size = store_size;
  io.read = store_read;
  io.close = store_close;
  io.user_data = &files;
  io.free_user_data = store_free;
  options.files = NULL;
  options.file_count = 0;
  options.io = &io;
  CHECK_OK(context, dsv3_context_create(&options, &context));
  files.fail_read = 1;
  CHECK_STATUS(DSV3_IO, context, 0, dsv3_context_load(context, 0, NULL));
  CHECK(files.open_files == 0);
  files.fail_read = 0;
  CHECK_OK(context, dsv3_context_load(context, 0, NULL));
  CHECK(files.reads > 3 && first_greedy_token(context) == wanted);
  CHECK(dsv3_context_destroy(context) == DSV3_OK);
  CHECK(files.open_files == 0 && files.freed == 1);
  for (int i = 0; i < 5; ++i) free(files.files[i].data);
}

int main(int argc, char** argv) {
  const char* folder = model_folder(argc, argv);
  test_plan_and_slices(folder);
  test_cancelled_load(folder);
  test_ceiling(folder);
  test_info(folder);
  test_other_sources(folder);
  CHECK(dsv3_context_destroy(NULL) == DSV3_OK);
  return 0;
}
