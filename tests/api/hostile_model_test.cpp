// Goal: no damage to a model's files can crash, leak, hang or draw an undocumented answer from the
// library. Method: seeded truncations, bit flips, splices and JSON edits of the shipped model,
// opened from memory through dsv3.h: plan, load and, where it loads, eight generated tokens.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <map>
#include <string>
#include <vector>

#include "dsv3.h"
#include "model_damage.h"

namespace dsv3::test {
namespace {

// Of processor time: what else runs on the machine does not count.
constexpr double kCaseSecondsMax = 2.0;
constexpr uint64_t kCeilingBytes = 256u << 20;

double processor_seconds() {
  return static_cast<double>(std::clock()) / static_cast<double>(CLOCKS_PER_SEC);
}

// The library's big blocks: all must be back when the context is gone.
struct CountingHeap {
  uint64_t bytes_held = 0;
  uint64_t blocks_held = 0;

  static void* allocate(void* self, uint64_t bytes, uint64_t alignment) {
    auto& heap = *static_cast<CountingHeap*>(self);
    const uint64_t whole = (bytes + alignment - 1) / alignment * alignment;
    void* const block = std::aligned_alloc(alignment, whole);
    if (block == nullptr) return nullptr;
    heap.bytes_held += bytes;
    ++heap.blocks_held;
    return block;
  }
  static void release(void* self, void* block, uint64_t bytes) {
    auto& heap = *static_cast<CountingHeap*>(self);
    heap.bytes_held -= bytes;
    --heap.blocks_held;
    std::free(block);
  }
};

struct Ends {
  int count = 0;
  dsv3_status status = DSV3_OK;

  static int32_t take(void* self, const dsv3_event* event) {
    if (event->kind != DSV3_EVENT_END) return 0;
    auto& ends = *static_cast<Ends*>(self);
    ++ends.count;
    ends.status = event->status;
    return 0;
  }
};

// What one damaged model led to.
struct Outcome {
  dsv3_status status = DSV3_OK;  // of the first call that failed
  std::string stage = "generated";
  std::string message;
};

class Trial {
 public:
  Trial(const std::vector<dsv3_file>& files, uint64_t number) : number_(number) {
    dsv3_context_options options;
    dsv3_context_options_init(&options, sizeof options);
    dsv3_threads threads{};
    threads.struct_size = sizeof threads;
    threads.count = 1;
    dsv3_allocator allocator{};
    allocator.struct_size = sizeof allocator;
    allocator.allocate = CountingHeap::allocate;
    allocator.release = CountingHeap::release;
    allocator.user_data = &heap_;
    dsv3_device device{};
    device.struct_size = sizeof device;
    device.bytes_max = kCeilingBytes;
    options.files = files.data();
    options.file_count = files.size();
    options.threads = &threads;
    options.allocator = &allocator;
    options.devices = &device;
    options.device_count = 1;
    options.sequences_max = 2;
    options.step_tokens_max = 8;
    options.cache_tokens = 128;
    options.weights = number % 5 == 4 ? DSV3_WEIGHTS_COPY : DSV3_WEIGHTS_MAP;
    EXPECT_EQ(DSV3_OK, dsv3_context_create(&options, &context_));
  }

  ~Trial() {
    EXPECT_EQ(DSV3_OK, dsv3_context_destroy(context_));
    EXPECT_EQ(0u, heap_.blocks_held);
    EXPECT_EQ(0u, heap_.bytes_held);
  }
  Trial(const Trial&) = delete;
  Trial& operator=(const Trial&) = delete;

  Outcome run() {
    dsv3_plan plan{};
    plan.struct_size = sizeof plan;
    const dsv3_status planned = dsv3_context_plan(context_, &plan);
    const std::string plan_message = planned == DSV3_OK ? "" : message(0);
    const dsv3_status loaded = load();
    if (loaded != DSV3_OK) {
      const std::string load_message = message(0);
      // What the headers alone refuse, a load refuses in the same words.
      EXPECT_TRUE(planned == DSV3_OK || (planned == loaded && plan_message == load_message))
          << "plan: " << plan_message << "\nload: " << load_message;
      EXPECT_EQ(DSV3_INVALID_ARGUMENT, dsv3_sequence_create(context_, nullptr, nullptr));
      return {loaded, planned == DSV3_OK ? "load" : "plan", load_message};
    }
    EXPECT_EQ(DSV3_OK, planned) << plan_message;
    EXPECT_EQ(1, plan.fits);
    dsv3_sequence sequence = 0;
    EXPECT_EQ(DSV3_OK, dsv3_sequence_create(context_, nullptr, &sequence));
    return generate_twice(sequence);
  }

 private:
  dsv3_status load() {
    int32_t done = 0;
    const uint64_t budget_us = number_ % 3 == 0 ? 200 : 0;
    dsv3_status status = DSV3_OK;
    while (status == DSV3_OK && done == 0) status = dsv3_context_load(context_, budget_us, &done);
    return status;
  }

  Outcome generate_twice(dsv3_sequence sequence) {
    const char text[] = "ROMEO:\nLove, 12 is \xe4\xba\xba";
    dsv3_status status =
        dsv3_sequence_append_text(context_, sequence, text, sizeof text - 1, number_ % 2);
    if (status != DSV3_OK) {
      // Without a tokenizer that we know, or with one whose ids the model lacks: tokens still go.
      const std::string why = message(sequence);
      EXPECT_FALSE(why.empty());
      const int32_t tokens[] = {0, 5, 7, 2};
      const dsv3_status appended = dsv3_sequence_append_tokens(context_, sequence, tokens, 4);
      if (appended != DSV3_OK) return {appended, "append_tokens", message(sequence)};
      text_refused_ = Outcome{status, "append_text", why};
    }
    for (const bool sampled : {false, true}) {
      const Outcome outcome = generate(sequence, sampled);
      if (outcome.status != DSV3_OK) return outcome;
    }
    return text_refused_;
  }

  Outcome generate(dsv3_sequence sequence, bool sampled) {
    Ends ends;
    dsv3_generate_options options;
    dsv3_generate_options_init(&options, sizeof options);
    options.max_tokens = 4;
    options.ignore_eos = 1;
    options.seed = number_;
    if (!sampled) options.temperature = 0.0f;
    options.events = DSV3_EVENTS_TOKEN;
    if (text_refused_.status != DSV3_UNSUPPORTED) options.events |= DSV3_EVENTS_TEXT;
    options.top_logprobs = 3;
    options.callback = Ends::take;
    options.user_data = &ends;
    int32_t finish = 0;
    const dsv3_status status = dsv3_generate(context_, sequence, &options, &finish);
    if (status != DSV3_OK) return {status, sampled ? "sample" : "greedy", message(sequence)};
    EXPECT_EQ(1, ends.count);
    if (finish == DSV3_FINISH_ERROR) return {ends.status, "finish error", message(sequence)};
    EXPECT_TRUE(finish == DSV3_FINISH_MAX_TOKENS || finish == DSV3_FINISH_CONTEXT_FULL) << finish;
    return {};
  }

  std::string message(dsv3_sequence sequence) {
    char text[4096] = "";
    uint64_t bytes = 0;
    EXPECT_EQ(DSV3_OK, dsv3_context_error(context_, sequence, text, sizeof text, &bytes));
    EXPECT_EQ(std::min<uint64_t>(bytes, sizeof text - 1), std::strlen(text));
    return text;
  }

  const uint64_t number_;
  CountingHeap heap_;
  dsv3_context* context_ = nullptr;
  Outcome text_refused_;
};

bool names_a_file(const std::string& message) {
  return message.find(".json") != std::string::npos ||
         message.find(".safetensors") != std::string::npos;
}

// What the header promises for the call that failed first.
void expect_documented(const Outcome& outcome) {
  EXPECT_EQ(outcome.status == DSV3_OK, outcome.message.empty());
  if (outcome.stage == "plan" || outcome.stage == "load") {
    EXPECT_TRUE(outcome.status == DSV3_INVALID_MODEL || outcome.status == DSV3_UNSUPPORTED ||
                outcome.status == DSV3_LIMIT);
    // A ceiling names what did not fit under it.
    EXPECT_TRUE(names_a_file(outcome.message) || outcome.status == DSV3_LIMIT);
  } else if (outcome.stage == "append_text") {
    EXPECT_TRUE(outcome.status == DSV3_UNSUPPORTED || outcome.status == DSV3_LIMIT ||
                outcome.status == DSV3_INVALID_ARGUMENT);
  } else if (outcome.stage == "append_tokens") {
    EXPECT_EQ(DSV3_LIMIT, outcome.status);
  } else {
    // A model that was accepted generates; only its numbers may have no next token.
    EXPECT_TRUE(outcome.stage == "generated" || outcome.stage == "finish error") << outcome.stage;
    EXPECT_TRUE(outcome.status == DSV3_OK || outcome.status == DSV3_INVALID_MODEL);
  }
}

class HostileModel : public ::testing::Test {
 protected:
  // Opens every damaged model of one kind; counts how each ended.
  void campaign(DamageKind kind, uint64_t cases) {
    for (uint64_t i = 0; i < cases; ++i) {
      const uint64_t seed = static_cast<uint64_t>(kind) * 1000003 + i;
      const Damage damage(SampleModel::instance(), kind, seed);
      SCOPED_TRACE("seed " + std::to_string(seed) + ": " + damage.description());
      const double begin = processor_seconds();
      Outcome outcome;
      {
        Trial trial(damage.files(), i);
        outcome = trial.run();
      }
      const double seconds = processor_seconds() - begin;
      EXPECT_LT(seconds, kCaseSecondsMax);
      slowest_ = std::max(slowest_, seconds);
      expect_documented(outcome);
      ++counts_[outcome.stage + " " + dsv3_status_name(outcome.status)];
      ++total_;
      if (outcome.status != DSV3_OK) ++refused_;
      if (HasFailure()) FAIL() << dsv3_status_name(outcome.status) << ": " << outcome.message;
    }
    RecordProperty("slowest_ms", static_cast<int>(slowest_ * 1e3));
    for (const auto& [name, count] : counts_) RecordProperty(property(name), count);
  }

  // Neither may be all or nothing, or the damage does not reach what it is meant to reach.
  void expect_refused_between(uint64_t low, uint64_t high) const {
    EXPECT_GE(refused_, low) << "of " << total_;
    EXPECT_LE(refused_, high) << "of " << total_;
  }

 private:
  static std::string property(std::string name) {
    std::replace(name.begin(), name.end(), ' ', '_');
    return name;
  }

  std::map<std::string, int> counts_;
  uint64_t total_ = 0;
  uint64_t refused_ = 0;
  double slowest_ = 0.0;
};

TEST_F(HostileModel, IsFineUndamaged) {
  campaign(DamageKind::kNone, 3);
  expect_refused_between(0, 0);
}

TEST_F(HostileModel, Config) {
  campaign(DamageKind::kConfig, 300);
  expect_refused_between(100, 295);
}

TEST_F(HostileModel, GenerationConfig) {
  campaign(DamageKind::kGenerationConfig, 120);
  expect_refused_between(30, 118);
}

TEST_F(HostileModel, Header) {
  campaign(DamageKind::kHeader, 300);
  expect_refused_between(200, 299);
}

TEST_F(HostileModel, HeaderLength) {
  campaign(DamageKind::kHeaderLength, 80);
  expect_refused_between(70, 80);
}

TEST_F(HostileModel, Tokenizer) {
  campaign(DamageKind::kTokenizer, 160);
  expect_refused_between(30, 159);
}

TEST_F(HostileModel, TokenizerConfig) {
  campaign(DamageKind::kTokenizerConfig, 80);
  expect_refused_between(20, 79);
}

TEST_F(HostileModel, TensorData) {
  campaign(DamageKind::kTensorData, 120);
  expect_refused_between(0, 60);
}

TEST_F(HostileModel, ScalesAndBiases) {
  campaign(DamageKind::kSmallTensors, 100);
  expect_refused_between(20, 95);
}

TEST_F(HostileModel, WholeFiles) {
  campaign(DamageKind::kWholeFiles, 80);
  expect_refused_between(20, 78);
}

// The same file at every alignment of the caller's memory: used in place or copied, never refused.
TEST_F(HostileModel, MemoryMayBeMisaligned) {
  campaign(DamageKind::kMisaligned, 4);
  expect_refused_between(0, 0);
}

}  // namespace
}  // namespace dsv3::test
