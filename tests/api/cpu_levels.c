// Goal: a context says which instruction set it uses, uses the one it is told to, and refuses those
// that the processor lacks. Method: open the model at every level and generate; the level that a
// context chooses by itself splits them into those that run and those that are refused.
// For tests/house/foreign_processors.py: `api_cpu_levels LEVEL`, the chosen level must be this one;
// `api_cpu_levels execute LEVEL`, only instructions that this level needs.
#include "api_check.h"

enum { kLevels = 3, kTokens = 2 };

static const char* const kLevelNames[kLevels] = {"scalar", "avx2", "avx512-bf16"};

static dsv3_context_options level_options(int32_t level) {
  dsv3_context_options options = folder_options(DSV3_SAMPLE_MODEL);
  options.cpu_level = level;
  options.cache_tokens = 64;
  return options;
}

// Prefill and decoding at that level; the level that the context names.
static int32_t run(int32_t level) {
  const dsv3_context_options options = level_options(level);
  dsv3_context* context = NULL;
  CHECK_OK(context, dsv3_context_create(&options, &context));
  CHECK_OK(context, dsv3_context_load(context, 0, NULL));

  const dsv3_sequence sequence = start_text(context, "ROMEO:\n");
  const dsv3_generate_options wanted = greedy_options(kTokens);
  int32_t finish = DSV3_FINISH_NONE;
  CHECK_STATUS(DSV3_OK, context, sequence, dsv3_generate(context, sequence, &wanted, &finish));
  CHECK(finish == DSV3_FINISH_MAX_TOKENS);

  dsv3_info info;
  info.struct_size = sizeof info;
  CHECK_OK(context, dsv3_context_info(context, &info));
  CHECK(strncmp(info.device, "cpu ", 4) == 0);
  int32_t found = 0;
  while (found < kLevels && strcmp(info.device + 4, kLevelNames[found]) != 0) ++found;
  CHECK(found < kLevels);
  CHECK_OK(context, dsv3_context_destroy(context));
  return found + DSV3_CPU_LEVEL_SCALAR;
}

static void test_refused(int32_t level, int32_t best) {
  const dsv3_context_options options = level_options(level);
  dsv3_context* context = NULL;
  CHECK_STATUS(DSV3_UNSUPPORTED, context, 0, dsv3_context_create(&options, &context));
  char message[1000] = "";
  CHECK(dsv3_context_error(context, 0, message, sizeof message, NULL) == DSV3_OK);
  CHECK(strstr(message, kLevelNames[level - DSV3_CPU_LEVEL_SCALAR]) != NULL);
  CHECK(strstr(message, kLevelNames[best - DSV3_CPU_LEVEL_SCALAR]) != NULL);
  dsv3_context_destroy(context);
}

// Ends with SIGILL where the processor, or who plays one, lacks any of them.
static void execute(const char* level) {
#if defined(__x86_64__)
  if (strcmp(level, "avx2") == 0) {
    __asm__ volatile(
        "vpxor %%ymm0, %%ymm0, %%ymm0\n\t"
        "vfmadd231ps %%ymm0, %%ymm0, %%ymm0\n\t"
        "vcvtph2ps %%xmm0, %%ymm0\n\t"
        "vzeroupper" ::
            : "xmm0");
  } else {
    __asm__ volatile("vpxord %%zmm0, %%zmm0, %%zmm0\n\tvzeroupper" ::: "xmm0");
  }
#else
  (void)level;
#endif
}

int main(int argc, char** argv) {
  if (argc > 2) {
    execute(argv[2]);
    return 0;
  }
  const char* const built = strstr(dsv3_build_info(), ", cpu levels: scalar");
  CHECK(built != NULL);
  const int32_t best = run(DSV3_CPU_LEVEL_BEST);
  const char* const best_name = kLevelNames[best - DSV3_CPU_LEVEL_SCALAR];
  if (argc > 1 && strcmp(best_name, argv[1]) != 0) {
    fprintf(stderr, "chose %s, wanted %s\n", best_name, argv[1]);
    return 1;
  }
  CHECK(strstr(built, best_name) != NULL);
  for (int32_t level = DSV3_CPU_LEVEL_SCALAR; level <= DSV3_CPU_LEVEL_AVX512; ++level) {
    if (level > best) {
      test_refused(level, best);
    } else {
      CHECK(run(level) == level);
    }
  }
  printf("cpu %s\n", best_name);
  return 0;
}
