// An FP8 model of two layers built in memory, to be changed before it is opened, and what opens it.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "base/random.h"
#include "base/thread_pool.h"
#include "checkpoint/build_file.h"
#include "model/loader.h"
#include "model/test_machine.h"

namespace dsv3::test {

inline const char* const kTinyConfig =
    R"({"model_type":"deepseek_v3","vocab_size":24,"hidden_size":16,
    "num_hidden_layers":2,"num_nextn_predict_layers":1,"first_k_dense_replace":1,
    "intermediate_size":136,"moe_intermediate_size":8,"n_routed_experts":4,"num_experts_per_tok":2,
    "n_shared_experts":1,"n_group":2,"topk_group":1,"routed_scaling_factor":2.5,
    "num_attention_heads":2,"q_lora_rank":8,"kv_lora_rank":8,"qk_nope_head_dim":8,
    "qk_rope_head_dim":4,"v_head_dim":8,"max_position_embeddings":256})";
inline std::string float_bytes(float value) {
  std::string out(4, '\0');
  std::memcpy(out.data(), &value, 4);
  return out;
}

inline uint64_t element_bytes(const std::string& dtype) {
  if (dtype == "F32") return 4;
  return dtype == "BF16" || dtype == "F16" ? 2 : 1;
}

// Finite values of about 1 in any of the dtypes: the exponent bits are drawn from a few.
inline std::string noise(const std::string& dtype, uint64_t elements, uint64_t seed) {
  std::string out;
  for (uint64_t i = 0; i < elements; ++i) {
    const uint64_t bits = random_bits(seed, i);
    const auto value = static_cast<float>(static_cast<int64_t>(bits % 2001) - 1000) / 1000.0f;
    const std::string wide = float_bytes(value);
    if (dtype == "F8_E4M3") {
      out += static_cast<char>((bits & 0x80u) | (0x28u + (bits >> 8) % 24));  // 2^-2 .. 2
    } else {
      out += dtype == "F32" ? wide : wide.substr(2);
    }
  }
  return out;
}

// The files of the model, to be changed before it is opened.
struct TinyModel {
  std::string config = kTinyConfig;
  std::vector<TestTensor> tensors;  // F32 first, F8 last: everything lies aligned
  bool scales_apart = false;        // in a second shard

  TinyModel() {
    ModelWeights weights;
    uint64_t seed = 1;
    const auto add = [&](const std::string& name, const std::string& dtype, const Shape& shape) {
      std::vector<uint64_t> dims(shape.dims.begin(), shape.dims.begin() + shape.rank);
      tensors.push_back({name, dtype, dims, noise(dtype, shape.elements(), ++seed)});
    };
    visit_manifest(parse_model_config(config, ""), weights, [&](const WeightRequest& request) {
      const char* const dtype = request.may_be_fp8 ? "F8_E4M3" : request.as_float ? "F32" : "BF16";
      add(request.name, dtype, request.shape);
      if (!request.may_be_fp8) return;
      add(request.name + "_scale_inv", "F32",
          {(request.shape[0] + 127) / 128, (request.shape[1] + 127) / 128});
      for (size_t i = 0; i < tensors.back().data.size(); i += 4) {
        tensors.back().data.replace(i, 4, float_bytes(0.25f));
      }
    });
    std::stable_sort(tensors.begin(), tensors.end(), [](const TestTensor& a, const TestTensor& b) {
      return element_bytes(a.dtype) > element_bytes(b.dtype);
    });
  }

  TestTensor& at(const std::string& name) {
    for (TestTensor& tensor : tensors) {
      if (tensor.name == name) return tensor;
    }
    throw std::runtime_error("no " + name);
  }
  void remove(const std::string& name) {
    tensors.erase(tensors.begin() + (&at(name) - tensors.data()));
  }
  void set_float(const std::string& name, uint64_t index, float value) {
    at(name).data.replace(index * 4, 4, float_bytes(value));
  }
  void set_config(const std::string& from, const std::string& to) {
    const size_t place = config.find(from);
    if (place == std::string::npos) throw std::runtime_error("no " + from);
    config.replace(place, from.size(), to);
  }

  TestFolder folder() const {
    TestFolder out;
    out["config.json"] = config;
    if (!scales_apart) {
      out["model.safetensors"] = build_file(tensors);
      return out;
    }
    std::vector<TestTensor> first;
    std::vector<TestTensor> second;
    std::string map;
    for (const TestTensor& tensor : tensors) {
      const bool is_scale = tensor.name.find("_scale_inv") != std::string::npos;
      (is_scale ? second : first).push_back(tensor);
      map += (map.empty() ? "\"" : ",\"") + tensor.name + "\":\"" + (is_scale ? "b" : "a") +
             ".safetensors\"";
    }
    out["a.safetensors"] = build_file(first);
    out["b.safetensors"] = build_file(second);
    out["model.safetensors.index.json"] = "{\"weight_map\":{" + map + "}}";
    return out;
  }
};

// Shows one microsecond more at every look, so that a budget of 1 ends after every piece.
class TickingClock final : public Clock {
 public:
  uint64_t now_us() override { return ++now_us_; }

 private:
  uint64_t now_us_ = 0;
};

// The host's memory: the allocation numbered `left` is refused, the others are counted.
struct FailingHook {
  uint64_t left = ~uint64_t{0};
  uint64_t held = 0;
  static void* allocate(void* self, uint64_t bytes, uint64_t alignment) {
    auto& hook = *static_cast<FailingHook*>(self);
    if (hook.left-- == 0) return nullptr;
    ++hook.held;
    return std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  }
  static void release(void* self, void* block, uint64_t) {
    --static_cast<FailingHook*>(self)->held;
    std::free(block);
  }
};

struct LoadSettings {
  bool map = true;
  bool scan_values = false;
  uint64_t budget_us = 0;
};

class Machine {
 public:
  explicit Machine(const Allocator::Hook& hook = {},
                   const testing::MachineMaker& make = testing::cpu_machine())
      : allocator_(hook, 0), machine_(make(pool_, allocator_)) {}

  uint32_t steps() const { return steps_; }

  std::unique_ptr<LoadedModel> load(std::unique_ptr<FileSource> source,
                                    const LoadSettings& settings = {}) {
    ModelOptions options;
    options.weights = {.map = settings.map, .scan_values = settings.scan_values};
    options.sizes = {.slots = 1, .rows_max = 8, .cache_tokens = 64};
    ModelLoader loader(std::move(source), options,
                       {.device = *machine_.device, .ops = *machine_.ops, .clock = clock_});
    steps_ = 1;
    while (!loader.step(settings.budget_us)) ++steps_;
    return loader.take();
  }

  static std::vector<float> logits(LoadedModel& model) {
    const std::vector<int32_t> tokens = {1, 9, 17, 4, 23};
    const int32_t page = 0;
    const PassSpan span{.slot = 0,
                        .form = AttentionForm::kUnabsorbed,
                        .position_begin = 0,
                        .tokens = tokens,
                        .pages = {&page, 1}};
    model.transformer->begin({.spans = {&span, 1}, .samples = {}});
    for (uint32_t i = 0; i < model.transformer->segment_count(); ++i) {
      model.transformer->run_segment(i);
    }
    model.transformer->wait_results();
    std::vector<float> out(model.config.vocab);
    model.transformer->logits(0, out);
    return out;
  }

 private:
  TickingClock clock_;
  Allocator allocator_;
  ThreadPool pool_{{.threads = 1}};
  testing::TestMachine machine_;
  uint32_t steps_ = 0;
};

}  // namespace dsv3::test
