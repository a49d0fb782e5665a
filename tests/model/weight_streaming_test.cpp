// Goal: weights that go to a device piece by piece arrive bit for bit, and what is wrong with them
// is found on the way as it is in mapped memory. Method: a tiny FP8 model with one MLP of several
// pieces, on a device whose memory the host cannot touch.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "model/tiny_model.h"
#include "support/expect_error.h"

namespace dsv3::test {
namespace {

const std::string kGate = "model.layers.0.mlp.gate_proj.weight";
const std::string kDown = "model.layers.0.mlp.down_proj.weight";
constexpr uint64_t kPiece = 8u << 20;
constexpr uint64_t kWidth = 600'000;  // [kWidth, 16] F8: more than one piece

// The tiny model with a dense MLP of kWidth columns.
TinyModel wide_model() {
  TinyModel model;
  model.set_config("intermediate_size\":136", "intermediate_size\":" + std::to_string(kWidth));
  const std::string tile = noise("F8_E4M3", 4099, 7);
  for (const char* part : {"gate_proj", "up_proj", "down_proj"}) {
    const std::string name = str("model.layers.0.mlp.", part, ".weight");
    for (uint64_t& size : model.at(name).shape) size = size == 136 ? kWidth : size;
    std::string& data = model.at(name).data;
    data.clear();
    while (data.size() < kWidth * 16) data += tile;
    data.resize(kWidth * 16);
    TestTensor& scales = model.at(name + "_scale_inv");
    for (uint64_t& size : scales.shape) size = size == 2 ? (kWidth + 127) / 128 : size;
    scales.data.clear();
    for (uint64_t i = 0; i < (kWidth + 127) / 128; ++i) {
      scales.data += float_bytes(0.001f + static_cast<float>(i % 13) * 0.0001f);
    }
  }
  return model;
}

std::vector<float> logits_of(const TinyModel& model, const testing::MachineMaker& make,
                             const LoadSettings& settings = {}) {
  Machine machine({}, make);
  const TestFolder folder = model.folder();
  return Machine::logits(*machine.load(memory_source(folder), settings));
}

void expect_same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  ASSERT_EQ(a.size(), b.size());
  EXPECT_EQ(0, std::memcmp(a.data(), b.data(), a.size() * sizeof(float)));
}

TEST(WeightStreaming, PiecesArriveBitForBit) {
  const TinyModel model = wide_model();
  const std::vector<float> expected = logits_of(model, testing::cpu_machine());
  EXPECT_TRUE(std::isfinite(expected.front()));
  expect_same_bits(logits_of(model, testing::cpu_machine(), {.map = false}), expected);
  expect_same_bits(logits_of(model, testing::apart_machine()), expected);
  expect_same_bits(logits_of(model, testing::apart_machine(), {.scan_values = true}), expected);
}

// A slice of a load is one piece, and progress ends where it said it would.
TEST(WeightStreaming, LoadsInPieces) {
  const TinyModel model = wide_model();
  const TestFolder folder = model.folder();
  const auto steps = [&](const testing::MachineMaker& make) {
    Machine machine({}, make);
    machine.load(memory_source(folder), {.map = false, .budget_us = 1});
    return machine.steps();
  };
  // Three tensors of two pieces each; one recording and the warm-up more than the CPU needs.
  Machine small;
  const TestFolder small_folder = TinyModel().folder();
  small.load(memory_source(small_folder), {.map = false, .budget_us = 1});
  EXPECT_EQ(steps(testing::cpu_machine()), small.steps() + 3);
  EXPECT_EQ(steps(testing::apart_machine()), small.steps() + 3 + 1);
}

TEST(WeightStreaming, FindsWhatIsWrongInLaterPieces) {
  for (const auto& make : {testing::cpu_machine(), testing::apart_machine()}) {
    TinyModel model = wide_model();
    model.at(kGate).data[kPiece + 5] = '\xff';
    EXPECT_TRUE(
        throws_error(Status::kInvalidModel,
                     {"model.safetensors", kGate, "byte " + std::to_string(kPiece + 5), "NaN"},
                     [&] { logits_of(model, make, {.map = false, .scan_values = true}); }));
    model = wide_model();
    model.set_float(kDown + "_scale_inv", 4600, 0.0f);  // columns 588'800 to 588'927
    EXPECT_TRUE(throws_error(Status::kInvalidModel,
                             {kDown + "_scale_inv", "[0, 4600] is 0", "not all zero"},
                             [&] { logits_of(model, make, {.map = false}); }));
    std::string& data = model.at(kDown).data;
    for (uint64_t row = 0; row < 16; ++row) {
      std::fill_n(data.begin() + static_cast<int64_t>(row * kWidth + 4600 * 128), 128, '\x80');
    }
    EXPECT_NO_THROW(logits_of(model, make, {.map = false})) << "a zero block may have scale 0";
  }
}

}  // namespace
}  // namespace dsv3::test
