// A checkpoint opened on a device and driven pass by pass, below the engine.
#pragma once

#include <filesystem>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "model/loader.h"
#include "model/test_machine.h"

namespace dsv3::testing {

inline std::filesystem::path golden_dir() { return DSV3_GOLDEN_DIR; }

inline const std::vector<std::string>& golden_names() {
  static const std::vector<std::string> names = {"groups_yarn",    "moonlight_style", "odd_widths",
                                                 "fp8_cut_blocks", "negative_bias",   "kimi_style",
                                                 "bf16_shards",    "f16_layer_freq"};
  return names;
}

struct FixtureOptions {
  uint32_t threads = 1;
  MachineMaker machine = cpu_machine();
  bool map = true;
  uint32_t rows_max = 160;
  uint64_t cache_tokens = 512;
  uint32_t slots = 4;
  uint64_t ceiling_bytes = 0;
  std::optional<DType> cache_dtype = {};
};

class ModelFixture {
 public:
  explicit ModelFixture(const std::filesystem::path& folder, const FixtureOptions& options = {})
      : allocator_({}, options.ceiling_bytes),
        pool_({.threads = options.threads}),
        machine_(options.machine(pool_, allocator_)) {
    ModelOptions model_options;
    model_options.weights.map = options.map;
    model_options.sizes.slots = options.slots;
    model_options.sizes.rows_max = options.rows_max;
    model_options.sizes.cache_tokens = options.cache_tokens;
    model_options.sizes.cache_dtype = options.cache_dtype;
    ModelLoader loader(std::make_unique<FolderSource>(folder.string()), model_options,
                       {.device = *machine_.device, .ops = *machine_.ops, .clock = clock_});
    while (!loader.step(0)) {
    }
    model_ = loader.take();
    pages_.resize(model_->limits.page_count);
    std::iota(pages_.begin(), pages_.end(), 0);
  }

  const LoadedModel& model() const { return *model_; }
  Transformer& transformer() { return *model_->transformer; }
  const Allocator& allocator() const { return allocator_; }
  Device& device() { return *machine_.device; }
  Ops& ops() { return *machine_.ops; }

  // The sequence's page table; identity unless a test shuffles it.
  std::vector<int32_t>& pages() { return pages_; }

  // One pass over tokens[begin, begin + count) of slot 0, in the given form.
  void pass(std::span<const int32_t> tokens, uint32_t begin, uint32_t count, AttentionForm form) {
    const PassSpan span{.slot = 0,
                        .form = form,
                        .position_begin = begin,
                        .tokens = tokens.subspan(begin, count),
                        .pages = pages_};
    run({.spans = {&span, 1}, .samples = {}});
  }

  std::span<const SampleResult> run(const PassInput& input) {
    launch(input);
    return transformer().wait_results();
  }
  // Leaves the pass in flight.
  void launch(const PassInput& input) {
    transformer().begin(input);
    for (uint32_t i = 0; i < transformer().segment_count(); ++i) transformer().run_segment(i);
  }

  std::vector<float> logits(uint32_t slot = 0) {
    std::vector<float> out(model_->config.vocab);
    transformer().logits(slot, out);
    return out;
  }

  // Logits after every position, or every 2nd, 3rd ... [T / every, V], so many tokens a pass.
  std::vector<float> all_logits(std::span<const int32_t> tokens, AttentionForm form,
                                uint32_t every = 1) {
    std::vector<float> out;
    for (uint32_t i = 0; i + every <= tokens.size(); i += every) {
      pass(tokens, i, every, form);
      const std::vector<float> row = logits();
      out.insert(out.end(), row.begin(), row.end());
    }
    return out;
  }

 private:
  SteadyClock clock_;
  Allocator allocator_;
  ThreadPool pool_;
  TestMachine machine_;
  std::unique_ptr<LoadedModel> model_;
  std::vector<int32_t> pages_;
};

}  // namespace dsv3::testing
