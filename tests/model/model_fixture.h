// A checkpoint opened on the CPU and driven pass by pass, below the engine.
#pragma once

#include <filesystem>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "cpu/cpu_device.h"
#include "cpu/cpu_ops.h"
#include "model/loader.h"

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
  CpuLevel level = cpu_level_best();
  bool map = true;
  uint32_t rows_max = 160;
  uint64_t cache_tokens = 512;
  uint32_t slots = 4;
  uint64_t ceiling_bytes = 0;
};

class ModelFixture {
 public:
  explicit ModelFixture(const std::filesystem::path& folder, const FixtureOptions& options = {})
      : allocator_({}, options.ceiling_bytes),
        device_(allocator_),
        pool_({.threads = options.threads}),
        ops_(make_cpu_ops(pool_, allocator_, options.level)) {
    ModelOptions model_options;
    model_options.weights.map = options.map;
    model_options.sizes.slots = options.slots;
    model_options.sizes.rows_max = options.rows_max;
    model_options.sizes.cache_tokens = options.cache_tokens;
    ModelLoader loader(std::make_unique<FolderSource>(folder.string()), model_options,
                       {.device = device_, .ops = *ops_, .clock = clock_});
    while (!loader.step(0)) {
    }
    model_ = loader.take();
    pages_.resize(model_->limits.page_count);
    std::iota(pages_.begin(), pages_.end(), 0);
  }

  const LoadedModel& model() const { return *model_; }
  Transformer& transformer() { return *model_->transformer; }
  const Allocator& allocator() const { return allocator_; }

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

  void run(const PassInput& input) {
    transformer().begin(input);
    for (uint32_t i = 0; i < transformer().segment_count(); ++i) transformer().run_segment(i);
  }

  std::vector<float> logits(uint32_t slot = 0) {
    std::vector<float> out(model_->config.vocab);
    transformer().logits(slot, out);
    return out;
  }

  // Logits after every position [T, V], one token a pass.
  std::vector<float> all_logits(std::span<const int32_t> tokens, AttentionForm form) {
    std::vector<float> out;
    for (uint32_t i = 0; i < tokens.size(); ++i) {
      pass(tokens, i, 1, form);
      const std::vector<float> row = logits();
      out.insert(out.end(), row.begin(), row.end());
    }
    return out;
  }

 private:
  SteadyClock clock_;
  Allocator allocator_;
  CpuDevice device_;
  ThreadPool pool_;
  std::unique_ptr<Ops> ops_;
  std::unique_ptr<LoadedModel> model_;
  std::vector<int32_t> pages_;
};

}  // namespace dsv3::testing
