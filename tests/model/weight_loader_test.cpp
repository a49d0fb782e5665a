// Goal: a model that contradicts its config, or holds values that cannot be right, is refused by
// file, tensor, value found and value wanted (spec §6.3 item 8), and what the format leaves open is
// accepted without changing a bit. Method: a tiny FP8 model built in memory, one change at a time.
#include "model/weight_loader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "model/tiny_model.h"
#include "support/expect_error.h"
#include "support/failing_new.h"

namespace dsv3::test {
namespace {

const std::string kGate = "model.layers.0.mlp.gate_proj.weight";  // [136, 16]: two blocks
const std::string kBias = "model.layers.1.mlp.gate.e_score_correction_bias";
const std::string kNorm = "model.layers.0.input_layernorm.weight";

std::vector<float> logits_of(const TinyModel& model, const LoadSettings& settings = {}) {
  Machine machine;
  const TestFolder folder = model.folder();
  return Machine::logits(*machine.load(memory_source(folder), settings));
}

void expect_same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  ASSERT_EQ(a.size(), b.size());
  EXPECT_EQ(0, std::memcmp(a.data(), b.data(), a.size() * sizeof(float)));
}

struct Refusal {
  const char* name;
  std::function<void(TinyModel&)> change;
  Status status;
  std::vector<std::string> words;
};

std::vector<Refusal> missing_and_misshapen() {
  const std::string file = "model.safetensors";
  const Status invalid = Status::kInvalidModel;
  return {
      {"missing",
       [](TinyModel& m) { m.remove(kNorm); },
       invalid,
       {file, kNorm, "is missing", "[16]"}},
      {"missing expert",
       [](TinyModel& m) { m.remove("model.layers.1.mlp.experts.3.up_proj.weight"); },
       invalid,
       {file, "experts.3.up_proj.weight is missing", "wanted shape [8, 16]"}},
      {"missing in shards",
       [](TinyModel& m) {
         m.scales_apart = true;
         m.remove(kNorm);
       },
       invalid,
       {"model.safetensors.index.json", kNorm, "is missing"}},
      {"no head",
       [](TinyModel& m) { m.remove("lm_head.weight"); },
       invalid,
       {file, "lm_head.weight is missing", "[24, 16]"}},
      {"transposed",
       [](TinyModel& m) {
         m.at(kGate).shape = {16, 136};
       },
       invalid,
       {file, kGate, "F8_E4M3 [16, 136]", "wanted shape [136, 16]"}},
      {"flat",
       [](TinyModel& m) { m.at(kGate).shape = {2176}; },
       invalid,
       {file, kGate, "[2176]", "[136, 16]"}},
      {"one dimension more",
       [](TinyModel& m) {
         m.at(kNorm).shape = {1, 16};
       },
       invalid,
       {file, kNorm, "[1, 16]", "wanted shape [16]"}},
      {"many dimensions",
       [](TinyModel& m) {
         m.at(kNorm).shape = {1, 1, 1, 1, 16};
       },
       invalid,
       {file, kNorm, "wanted shape [16]"}},
      {"config has more layers",
       [](TinyModel& m) { m.set_config("num_hidden_layers\":2", "num_hidden_layers\":3"); },
       invalid,
       {file, "model.layers.2.input_layernorm.weight is missing"}},
      {"config has more shared experts",
       [](TinyModel& m) { m.set_config("n_shared_experts\":1", "n_shared_experts\":2"); },
       invalid,
       {file, "shared_experts.gate_proj.weight", "[8, 16]", "wanted shape [16, 16]"}},
      {"config has no q_lora",
       [](TinyModel& m) { m.set_config("q_lora_rank\":8", "q_lora_rank\":null"); },
       invalid,
       {file, "self_attn.q_proj.weight is missing", "[24, 16]"}},
      {"config has other heads",
       [](TinyModel& m) { m.set_config("num_attention_heads\":2", "num_attention_heads\":4"); },
       invalid,
       {file, "q_b_proj.weight", "[24, 8]", "[48, 8]"}},
      {"config has an MoE layer where none is",
       [](TinyModel& m) { m.set_config("first_k_dense_replace\":1", "first_k_dense_replace\":0"); },
       invalid,
       {file, "model.layers.0.mlp.gate.weight is missing", "[4, 16]"}},
      {"no config", [](TinyModel& m) { m.config.clear(); }, invalid, {"config.json"}},
  };
}

std::vector<Refusal> wrong_dtypes_and_scales() {
  const std::string file = "model.safetensors";
  const std::string scale = kGate + "_scale_inv";
  const Status invalid = Status::kInvalidModel;
  const auto retype = [](TestTensor& tensor, const char* dtype) {
    const uint64_t elements = tensor.data.size() / element_bytes(tensor.dtype);
    tensor.dtype = dtype;
    tensor.data.assign(elements * element_bytes(dtype), '\1');
  };
  return {
      {"I8 weight",
       [=](TinyModel& m) { retype(m.at(kGate), "I8"); },
       Status::kUnsupported,
       {file, kGate, "I8 [136, 16]", "supported: BF16, F16, F32, F8_E4M3"}},
      {"F8_E5M2 weight",
       [=](TinyModel& m) { retype(m.at(kGate), "F8_E5M2"); },
       Status::kUnsupported,
       {file, kGate, "F8_E5M2", "supported"}},
      {"unknown dtype",
       [=](TinyModel& m) { retype(m.at(kGate), "F9"); },
       Status::kUnsupported,
       {file, kGate, "F9", "supported"}},
      {"F8 norm",
       [=](TinyModel& m) { retype(m.at(kNorm), "F8_E4M3"); },
       Status::kUnsupported,
       {file, kNorm, "F8_E4M3 [16]", "supported: BF16, F16, F32"}},
      {"F8 embedding",
       [=](TinyModel& m) { retype(m.at("model.embed_tokens.weight"), "F8_E4M3"); },
       Status::kUnsupported,
       {file, "model.embed_tokens.weight", "F8_E4M3"}},
      {"no scale",
       [=](TinyModel& m) { m.remove(scale); },
       invalid,
       {file, kGate + " is F8_E4M3", scale + " is missing", "wanted F32 [2, 1]"}},
      {"scale shape",
       [=](TinyModel& m) {
         m.at(scale).shape = {1, 2};
       },
       invalid,
       {file, scale, "F32 [1, 2]", "wanted F32 [2, 1]"}},
      {"scale rank",
       [=](TinyModel& m) { m.at(scale).shape = {2}; },
       invalid,
       {file, scale, "F32 [2]", "wanted F32 [2, 1]"}},
      {"scale dtype",
       [=](TinyModel& m) { retype(m.at(scale), "BF16"); },
       invalid,
       {file, scale, "BF16 [2, 1]", "wanted F32 [2, 1]"}},
      {"scale NaN",
       [=](TinyModel& m) { m.set_float(scale, 1, NAN); },
       invalid,
       {file, scale, "[1, 0]", "nan", "wanted a finite number above 0"}},
      {"scale infinite",
       [=](TinyModel& m) { m.set_float(scale, 0, INFINITY); },
       invalid,
       {file, scale, "[0, 0]", "inf", "wanted a finite number above 0"}},
      {"scale negative",
       [=](TinyModel& m) { m.set_float(scale, 0, -0.5f); },
       invalid,
       {file, scale, "[0, 0]", "-0.5", "wanted a finite number above 0"}},
      {"scale 0",
       [=](TinyModel& m) { m.set_float(scale, 1, 0.0f); },
       invalid,
       {file, scale, "[1, 0]", "is 0 for a block that is not all zero", "wanted"}},
      {"scale in a shard",
       [=](TinyModel& m) {
         m.scales_apart = true;
         m.set_float(scale, 1, NAN);
       },
       invalid,
       {"b.safetensors", scale, "nan"}},
      {"bias NaN",
       [](TinyModel& m) { m.set_float(kBias, 2, NAN); },
       invalid,
       {file, kBias, "element 2", "nan", "wanted a finite number"}},
      {"bias infinite",
       [](TinyModel& m) { m.set_float(kBias, 0, -INFINITY); },
       invalid,
       {file, kBias, "element 0", "-inf", "wanted a finite number"}},
      {"bias I32",
       [](TinyModel& m) { m.at(kBias).dtype = "I32"; },
       Status::kUnsupported,
       {file, kBias, "I32", "supported: BF16, F16, F32"}},
      {"INT4",
       [](TinyModel& m) {
         m.at(kGate).name = "model.layers.0.mlp.gate_proj.weight_packed";
         m.at("model.layers.0.mlp.gate_proj.weight_packed").dtype = "U8";
       },
       Status::kUnsupported,
       {file, "gate_proj.weight_packed", "INT4 pack-quantized", "supported"}},
  };
}

void expect_refused(const std::vector<Refusal>& refusals) {
  for (const Refusal& refusal : refusals) {
    SCOPED_TRACE(refusal.name);
    TinyModel model;
    refusal.change(model);
    const TestFolder folder = model.folder();
    // In place, copied, streamed to a device.
    for (const int way : {0, 1, 2}) {
      FailingHook hook;
      try {
        Machine machine({FailingHook::allocate, FailingHook::release, &hook},
                        way == 2 ? testing::apart_machine() : testing::cpu_machine());
        machine.load(memory_source(folder), {.map = way != 1});
        ADD_FAILURE() << "was accepted";
      } catch (const Error& error) {
        EXPECT_EQ(error.status(), refusal.status) << error.message();
        for (const std::string& word : refusal.words) {
          EXPECT_NE(error.message().find(word), std::string::npos)
              << "no \"" << word << "\" in: " << error.message();
        }
      }
      EXPECT_EQ(hook.held, 0u);
    }
  }
}

TEST(WeightLoader, RefusesWhatTheConfigContradicts) { expect_refused(missing_and_misshapen()); }

TEST(WeightLoader, RefusesWrongDtypesAndValues) { expect_refused(wrong_dtypes_and_scales()); }

TEST(WeightLoader, RefusesNanBytesWhenAskedToScan) {
  for (const char nan : {'\x7f', '\xff'}) {
    TinyModel model;
    model.at(kGate).data[77] = nan;
    EXPECT_NO_THROW(logits_of(model));
    EXPECT_TRUE(throws_error(Status::kInvalidModel,
                             {"model.safetensors", kGate, "byte 77", "NaN", "wanted"},
                             [&] { logits_of(model, {.scan_values = true}); }));
  }
  EXPECT_NO_THROW(logits_of(TinyModel(), {.scan_values = true}));
}

// A config of a few bytes may claim millions of tensors: the first that is missing ends it.
TEST(WeightLoader, HugeClaimsCostNothing) {
  TinyModel model;
  model.set_config("num_hidden_layers\":2", "num_hidden_layers\":1024");
  model.set_config("n_routed_experts\":4", "n_routed_experts\":4096");
  model.set_config("first_k_dense_replace\":1", "first_k_dense_replace\":2");
  const TestFolder folder = model.folder();
  Machine machine;
  const FailingNew scope(20000);
  EXPECT_TRUE(throws_error(Status::kInvalidModel, {"model.layers.1.mlp.gate_proj", "is missing"},
                           [&] { machine.load(memory_source(folder)); }));
  EXPECT_FALSE(FailingNew::failed());
}

TEST(WeightLoader, IgnoresWhatTheModelDoesNotNeed) {
  const std::vector<float> expected = logits_of(TinyModel());
  TinyModel model;
  model.tensors.push_back(
      {"model.layers.0.self_attn.rotary_emb.inv_freq", "BF16", {2}, "\1\2\3\4"});
  model.tensors.push_back({"model.layers.2.eh_proj.weight", "F8_E4M3", {1, 3}, "\x7f\x7f\x7f"});
  model.tensors.push_back({"model.layers.7.anything", "F9", {1}, "x"});
  model.tensors.push_back({kNorm + "_scale_inv", "F32", {1}, float_bytes(NAN)});
  expect_same_bits(logits_of(model), expected);
}

TEST(WeightLoader, TakesScalesFromAnotherShard) {
  TinyModel model;
  model.scales_apart = true;
  expect_same_bits(logits_of(model), logits_of(TinyModel()));
}

TEST(WeightLoader, AcceptsZeroScalesOfZeroBlocks) {
  TinyModel model;
  std::string& data = model.at(kGate).data;
  std::fill(data.begin() + 128 * 16, data.end(), '\0');
  data.back() = '\x80';  // minus zero
  const std::vector<float> expected = logits_of(model);
  model.set_float(kGate + "_scale_inv", 1, 0.0f);
  expect_same_bits(logits_of(model), expected);
}

TEST(WeightLoader, AcceptsBf16RouterBiases) {
  TinyModel model;
  TestTensor& bias = model.at(kBias);
  bias.data.clear();
  std::string narrow;
  for (const float value : {0.5f, -0.25f, 2.0f, 0.125f}) {
    bias.data += float_bytes(value);
    narrow += float_bytes(value).substr(2);
  }
  const std::vector<float> expected = logits_of(model);
  model.remove(kBias);
  model.tensors.insert(model.tensors.begin(), {kBias, "BF16", {4}, narrow});
  expect_same_bits(logits_of(model), expected);
}

TEST(WeightLoader, CopiesWhatIsMisalignedAndOnlyThat) {
  const TinyModel aligned;
  const std::vector<float> expected = logits_of(aligned);
  const auto check = [&](std::unique_ptr<FileSource> source, bool all_in_place) {
    Machine machine;
    const auto model = machine.load(std::move(source));
    EXPECT_GT(model->plan.weights_mapped, 0u);
    // Router biases are always converted into own memory: 256 bytes here.
    EXPECT_EQ(model->plan.weights_copied == 256, all_in_place) << model->plan.weights_copied;
    expect_same_bits(Machine::logits(*model), expected);
  };
  const TestFolder folder = aligned.folder();
  check(memory_source(folder), true);
  TinyModel shifted;
  shifted.tensors.insert(shifted.tensors.begin(), {"model.layers.9.x", "U8", {1}, "x"});
  const TestFolder shifted_folder = shifted.folder();
  check(memory_source(shifted_folder), false);
  // The file itself at an odd address.
  const std::string moved = "?" + folder.at("model.safetensors");
  const MemoryFile files[] = {{"config.json", aligned.config.data(), aligned.config.size()},
                              {"model.safetensors", moved.data() + 1, moved.size() - 1}};
  check(std::make_unique<MemorySource>(files), false);
}

TEST(WeightLoader, SteppingChangesNothing) {
  const TinyModel model;
  const TestFolder folder = model.folder();
  const std::vector<float> expected = logits_of(model);
  for (const bool map : {true, false}) {
    Machine machine;
    const auto loaded = machine.load(memory_source(folder), {.map = map, .budget_us = 1});
    EXPECT_GT(machine.steps(), 40u);
    EXPECT_EQ(map, loaded->plan.weights_mapped > 0);
    expect_same_bits(Machine::logits(*loaded), expected);
  }
}

// Reads of a source that cannot map; the one numbered `fail_at` fails.
class FailingSource final : public FileSource {
 public:
  FailingSource(const TestFolder& folder, uint64_t fail_at)
      : inner_(memory_source(folder)), left_(std::make_shared<uint64_t>(fail_at)) {}
  std::string description() const override { return "failing"; }

 private:
  class File final : public SourceFile {
   public:
    File(std::unique_ptr<SourceFile> inner, std::string name, std::shared_ptr<uint64_t> left)
        : inner_(std::move(inner)), name_(std::move(name)), left_(std::move(left)) {}
    uint64_t size() const override { return inner_->size(); }
    void read(uint64_t offset, std::byte* out, uint64_t bytes) override {
      if ((*left_)-- == 0) fail(Status::kIo, name_, ": cannot read byte ", offset);
      inner_->read(offset, out, bytes);
    }
    const std::byte* map() override { return nullptr; }
    void will_need(uint64_t, uint64_t) override {}

   private:
    const std::unique_ptr<SourceFile> inner_;
    const std::string name_;
    const std::shared_ptr<uint64_t> left_;
  };

  std::unique_ptr<SourceFile> do_open(const std::string& name) override {
    auto file = inner_->open(name);
    if (file == nullptr) return nullptr;
    return std::make_unique<File>(std::move(file), name, left_);
  }

  const std::unique_ptr<FileSource> inner_;
  const std::shared_ptr<uint64_t> left_;
};

TEST(WeightLoader, EveryFailedReadIsIoAndTheNextTrySucceeds) {
  TinyModel model;
  model.scales_apart = true;
  const TestFolder folder = model.folder();
  const std::vector<float> expected = logits_of(model);
  Machine machine;
  machine.load(memory_source(folder));  // what the ops keep for the next model is there
  uint64_t reads = 0;
  for (bool loaded = false; !loaded; ++reads) {
    const uint64_t blocks = FailingNew::blocks_live();
    try {
      const auto result = machine.load(std::make_unique<FailingSource>(folder, reads));
      expect_same_bits(Machine::logits(*result), expected);
      loaded = true;
    } catch (const Error& error) {
      EXPECT_EQ(error.status(), Status::kIo) << error.message();
      EXPECT_NE(error.message().find("cannot read byte"), std::string::npos) << error.message();
    }
    EXPECT_EQ(FailingNew::blocks_live(), blocks) << "after read " << reads;
    if (HasFailure()) break;
  }
  EXPECT_GT(reads, 40u);
}

TEST(WeightLoader, EveryFailedAllocationLeavesNothing) {
  const TinyModel model;
  const TestFolder folder = model.folder();
  const std::vector<float> expected = logits_of(model);
  uint64_t allocations = 0;
  for (bool loaded = false; !loaded; ++allocations) {
    Machine machine;
    machine.load(memory_source(folder));  // what the ops keep for the next model is there
    auto source = memory_source(folder);
    const uint64_t blocks = FailingNew::blocks_live();
    std::unique_ptr<LoadedModel> result;
    try {
      const FailingNew scope(allocations);
      result = machine.load(std::move(source));
    } catch (const std::bad_alloc&) {
      EXPECT_TRUE(FailingNew::failed());
    } catch (const Error& error) {
      EXPECT_EQ(error.status(), Status::kOutOfMemory) << error.message();
    }
    loaded = !FailingNew::failed();
    if (!loaded) {
      EXPECT_EQ(result, nullptr);
      EXPECT_LE(FailingNew::blocks_live(), blocks) << "after allocation " << allocations;
      result = machine.load(memory_source(folder));
    }
    if (!loaded && allocations % 50 != 0) continue;
    expect_same_bits(Machine::logits(*result), expected);
  }
  EXPECT_GT(allocations, 300u);
}

TEST(WeightLoader, EveryBlockTheHostRefusesIsOutOfMemory) {
  const TinyModel model;
  const TestFolder folder = model.folder();
  const std::vector<float> expected = logits_of(model);
  uint64_t refused = 0;
  for (bool loaded = false; !loaded; ++refused) {
    FailingHook hook{.left = refused};
    {
      Machine machine({FailingHook::allocate, FailingHook::release, &hook});
      std::unique_ptr<LoadedModel> result;
      try {
        result = machine.load(memory_source(folder), {.map = false});
        loaded = true;
      } catch (const Error& error) {
        EXPECT_EQ(error.status(), Status::kOutOfMemory) << error.message();
        hook.left = 1000;
        result = machine.load(memory_source(folder), {.map = false});
      }
      expect_same_bits(Machine::logits(*result), expected);
    }
    EXPECT_EQ(hook.held, 0u);
  }
  EXPECT_GE(refused, 4u);  // weights, cache, activations, scratch
}

}  // namespace
}  // namespace dsv3::test
