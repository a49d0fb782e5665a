// Goal: running out of memory at any allocation is a status: nothing leaks, destroy works, a second
// try succeeds. Method: a tiny model is created, loaded, prefilled and decoded again and again
// while allocation N fails, once or from then on, for every N; first malloc and operator new, then
// the host's allocator hook.
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <set>

#include "api_model.h"
#include "failing_malloc.h"

namespace dsv3_test {
namespace {

// Sanitizers make a life ten times as long: they see a sample of the allocations, which the plain
// build sees one by one.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr uint64_t kStride = 13;
#else
constexpr uint64_t kStride = 1;
#endif

const char* const kTinyModel = DSV3_GOLDEN_DIR "/groups_yarn";
constexpr int32_t kPrompt[5] = {3, 17, 64, 5, 99};

struct Talk {
  int32_t tokens[8] = {};
  int token_count = 0;
  int ends = 0;
  int freed = 0;

  static int32_t hear(void* user_data, const dsv3_event* event) {
    auto* const talk = static_cast<Talk*>(user_data);
    if (event->kind == DSV3_EVENT_TOKEN) talk->tokens[talk->token_count++] = event->token;
    if (event->kind == DSV3_EVENT_END) ++talk->ends;
    return 0;
  }
  static void give_back(void* user_data) { ++static_cast<Talk*>(user_data)->freed; }
};

// Prefill and decode; whatever fails is returned. Nothing here allocates but the library.
dsv3_status talk_to(dsv3_context* context, Talk* talk) {
  dsv3_sequence sequence = 0;
  dsv3_status status = dsv3_sequence_create(context, nullptr, &sequence);
  if (status != DSV3_OK) return status;
  status = dsv3_sequence_append_tokens(context, sequence, kPrompt, 5);
  if (status == DSV3_OK) {
    dsv3_generate_options options;
    dsv3_generate_options_init(&options, sizeof(options));
    options.events = DSV3_EVENTS_TOKEN;
    options.max_tokens = 4;
    options.temperature = 0.0f;
    options.ignore_eos = 1;
    options.callback = &Talk::hear;
    options.user_data = talk;
    options.free_user_data = &Talk::give_back;
    status = dsv3_generate(context, sequence, &options, nullptr);
  }
  const dsv3_status destroyed = dsv3_sequence_destroy(context, sequence);
  return status != DSV3_OK ? status : destroyed;
}

// A whole life. With `second_try`, after a failure the same context is used again while nothing
// fails.
class Life {
 public:
  explicit Life(const dsv3_context_options& options) : options_(options) {}

  // The first failure, or OK.
  dsv3_status live(Talk* talk) {
    dsv3_status status = dsv3_context_create(&options_, &context_);
    if (status == DSV3_OK) status = dsv3_context_load(context_, 0, nullptr);
    if (status == DSV3_OK) status = talk_to(context_, talk);
    return status;
  }
  // After a failure, with memory again: the same context does it all.
  dsv3_status live_again(Talk* talk) {
    if (context_ == nullptr) return live(talk);
    const dsv3_status status = dsv3_context_load(context_, 0, nullptr);
    return status == DSV3_OK ? talk_to(context_, talk) : status;
  }
  std::string message() const { return context_ == nullptr ? "" : message_of(context_); }
  dsv3_status end() {
    const dsv3_status status = dsv3_context_destroy(context_);
    context_ = nullptr;
    return status;
  }

 private:
  const dsv3_context_options options_;
  dsv3_context* context_ = nullptr;
};

dsv3_context_options tiny_options(const std::string& folder, const dsv3_threads* threads) {
  dsv3_context_options options = options_for(folder);
  options.threads = threads;
  options.sequences_max = 2;
  options.step_tokens_max = 16;
  options.cache_tokens = 128;
  return options;
}

// One life with allocation `first` failing. True when it failed at all.
bool live_with_failure(const dsv3_context_options& options, uint64_t first, bool persistent,
                       const Talk& wanted) {
  const int64_t blocks_before = blocks_of_this_thread();
  {
    Life life(options);
    Talk talk;
    dsv3_status status = DSV3_OK;
    bool has_failed = false;
    {
      const FailingMalloc failing(first, persistent);
      status = life.live(&talk);
      has_failed = FailingMalloc::has_failed();
    }
    EXPECT_TRUE(status == DSV3_OK || status == DSV3_OUT_OF_MEMORY)
        << "allocation " << first << ": " << dsv3_status_name(status) << ": " << life.message();
    EXPECT_LE(talk.ends, talk.freed);  // a generation that did not start has no end
    EXPECT_TRUE(status != DSV3_OK || (talk.ends == 1 && talk.freed == 1)) << "allocation " << first;
    if (!has_failed) {
      EXPECT_EQ(status, DSV3_OK);
      EXPECT_EQ(life.end(), DSV3_OK);
      return false;
    }
    Talk again;
    EXPECT_EQ(life.live_again(&again), DSV3_OK)
        << "after allocation " << first << ": " << life.message();
    EXPECT_EQ(again.token_count, wanted.token_count);
    EXPECT_TRUE(std::equal(again.tokens, again.tokens + again.token_count, wanted.tokens));
    EXPECT_EQ(life.end(), DSV3_OK);
  }
  EXPECT_EQ(blocks_of_this_thread(), blocks_before) << "allocation " << first << " leaks";
  return true;
}

Talk reference_talk(const dsv3_context_options& options) {
  Talk talk;
  Life life(options);
  EXPECT_EQ(life.live(&talk), DSV3_OK) << life.message();
  EXPECT_EQ(life.end(), DSV3_OK);
  EXPECT_EQ(talk.token_count, 4);
  return talk;
}

void fail_allocations(const dsv3_context_options& options, bool persistent, uint64_t stride) {
  const Talk wanted = reference_talk(options);
  uint64_t first = 0;
  while (live_with_failure(options, first, persistent, wanted)) {
    if (::testing::Test::HasFailure()) return;
    first += stride;
  }
  EXPECT_GT(first, 500u);  // there was something to fail
}

TEST(OutOfMemory, EachAllocationOnce) {
  const std::string folder = kTinyModel;
  const dsv3_threads alone = thread_count(1);
  fail_allocations(tiny_options(folder, &alone), false, kStride);
}

TEST(OutOfMemory, EachAllocationAndAllLaterOnes) {
  const std::string folder = kTinyModel;
  const dsv3_threads alone = thread_count(1);
  fail_allocations(tiny_options(folder, &alone), true, kStride);
}

TEST(OutOfMemory, CopiedWeights) {
  const std::string folder = kTinyModel;
  const dsv3_threads alone = thread_count(1);
  dsv3_context_options options = tiny_options(folder, &alone);
  options.weights = DSV3_WEIGHTS_COPY;
  fail_allocations(options, true, 5 * kStride);
}

// The tokenizer of the model that ships: many allocations, so a sample of them.
TEST(OutOfMemory, Tokenizer) {
  const std::string folder = DSV3_SAMPLE_MODEL;
  const dsv3_threads alone = thread_count(1);
  dsv3_context_options options = tiny_options(folder, &alone);
  const Talk wanted = reference_talk(options);
  uint64_t first = 1;
  while (live_with_failure(options, first, first % 2 == 0, wanted)) {
    if (HasFailure()) return;
    first += first / 4 + 1;
  }
}

// New threads need memory: without it the old ones go on, with the same tokens.
TEST(OutOfMemory, SetThreads) {
  const std::string folder = kTinyModel;
  const dsv3_threads two = thread_count(2);
  const dsv3_threads alone = thread_count(1);
  const dsv3_context_options options = tiny_options(folder, &two);
  const Talk wanted = reference_talk(options);
  for (int persistent = 0; persistent < 2; ++persistent) {
    const Context context = open(options);
    uint64_t failures = 0;
    for (bool has_failed = true; has_failed; ++failures) {
      dsv3_status status = DSV3_OK;
      {
        const FailingMalloc failing(failures, persistent == 1);
        status = dsv3_context_set_threads(context.get(), &alone);
        has_failed = FailingMalloc::has_failed();
      }
      EXPECT_EQ(status, has_failed ? DSV3_OUT_OF_MEMORY : DSV3_OK);
      Talk talk;
      ASSERT_EQ(talk_to(context.get(), &talk), DSV3_OK) << message_of(context.get());
      EXPECT_TRUE(std::equal(talk.tokens, talk.tokens + 4, wanted.tokens));
    }
    EXPECT_GT(failures, 1u);  // there was something to fail
  }
}

// The host's allocator says no.
struct Budget {
  int64_t left = 0;
  bool persistent = false;
  bool has_failed = false;
  std::set<void*> blocks;

  static void* allocate(void* user_data, uint64_t bytes, uint64_t alignment) {
    auto* const budget = static_cast<Budget*>(user_data);
    if (budget->left-- <= 0 && (budget->persistent || !budget->has_failed)) {
      budget->has_failed = true;
      return nullptr;
    }
    void* const block =
        std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
    budget->blocks.insert(block);
    return block;
  }
  static void release(void* user_data, void* block, uint64_t) {
    EXPECT_EQ(static_cast<Budget*>(user_data)->blocks.erase(block), 1u);
    std::free(block);
  }
};

TEST(OutOfMemory, AllocatorHook) {
  const std::string folder = kTinyModel;
  const dsv3_threads alone = thread_count(1);
  dsv3_context_options options = tiny_options(folder, &alone);
  options.weights = DSV3_WEIGHTS_COPY;
  const Talk wanted = reference_talk(options);
  int failures = 0;
  for (int64_t first = 0;; ++first) {
    Budget budget;
    dsv3_allocator allocator{};
    allocator.struct_size = sizeof(allocator);
    allocator.allocate = &Budget::allocate;
    allocator.release = &Budget::release;
    allocator.user_data = &budget;
    options.allocator = &allocator;
    budget.left = first;
    budget.persistent = first % 2 == 0;
    Life life(options);
    Talk talk;
    const dsv3_status status = life.live(&talk);
    const bool has_failed = budget.has_failed;
    EXPECT_EQ(status, has_failed ? DSV3_OUT_OF_MEMORY : DSV3_OK) << life.message();
    if (has_failed) {
      ++failures;
      budget.left = 1000000;
      Talk again;
      EXPECT_EQ(life.live_again(&again), DSV3_OK) << life.message();
      EXPECT_TRUE(std::equal(again.tokens, again.tokens + 4, wanted.tokens));
    }
    EXPECT_EQ(life.end(), DSV3_OK);
    EXPECT_TRUE(budget.blocks.empty());
    if (!has_failed || HasFailure()) break;
  }
  EXPECT_GE(failures, 3);  // weights, cache, workspace at least
}

}  // namespace
}  // namespace dsv3_test
