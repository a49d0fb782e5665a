// STRICT below the engine: chunking, thread count, page order, company and weight placement leave
// every bit of the logits as it was.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <random>

#include "model/model_fixture.h"
#include "reference/reference_checkpoint.h"

namespace dsv3::testing {
namespace {

class Strict : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    folder_ = golden_dir() / GetParam();
    tokens_ = reference::read_golden(folder_).tokens;
    half_ = static_cast<uint32_t>(tokens_.size()) / 2;
    ModelFixture fixture(folder_);
    fixture.pass(tokens_, 0, half_, AttentionForm::kUnabsorbed);
    decode_rest(fixture, 1);
    expected_ = fixture.logits();
  }

  // The second half as generated tokens, `rows` a pass.
  void decode_rest(ModelFixture& fixture, uint32_t rows) {
    const auto end = static_cast<uint32_t>(tokens_.size());
    for (uint32_t i = half_; i < end; i += rows) {
      fixture.pass(tokens_, i, std::min(rows, end - i), AttentionForm::kAbsorbed);
    }
  }

  void expect_same(ModelFixture& fixture, const char* what) {
    const std::vector<float> actual = fixture.logits();
    ASSERT_EQ(actual.size(), expected_.size());
    EXPECT_EQ(0, std::memcmp(actual.data(), expected_.data(), actual.size() * sizeof(float)))
        << what;
  }

  std::filesystem::path folder_;
  std::vector<int32_t> tokens_;
  uint32_t half_ = 0;
  std::vector<float> expected_;
};

TEST_P(Strict, Chunking) {
  for (const uint32_t chunk : {1u, 3u, 7u, 64u}) {
    ModelFixture fixture(folder_);
    for (uint32_t i = 0; i < half_; i += chunk) {
      fixture.pass(tokens_, i, std::min(chunk, half_ - i), AttentionForm::kUnabsorbed);
    }
    decode_rest(fixture, chunk);
    expect_same(fixture, "chunk");
  }
}

TEST_P(Strict, Threads) {
  for (const uint32_t threads : {2u, 3u}) {
    ModelFixture fixture(folder_, {.threads = threads});
    fixture.pass(tokens_, 0, half_, AttentionForm::kUnabsorbed);
    decode_rest(fixture, 5);
    expect_same(fixture, "threads");
  }
}

TEST_P(Strict, PageOrder) {
  ModelFixture fixture(folder_);
  std::shuffle(fixture.pages().begin(), fixture.pages().end(), std::mt19937(7));
  fixture.pass(tokens_, 0, half_, AttentionForm::kUnabsorbed);
  decode_rest(fixture, 2);
  expect_same(fixture, "shuffled pages");
}

TEST_P(Strict, CopiedWeights) {
  ModelFixture fixture(folder_, {.map = false});
  EXPECT_EQ(fixture.model().plan.weights_mapped, 0u);
  EXPECT_GT(fixture.model().plan.weights_copied, 0u);
  fixture.pass(tokens_, 0, half_, AttentionForm::kUnabsorbed);
  decode_rest(fixture, 1);
  expect_same(fixture, "copied weights");
}

// Another sequence of other length and form in every pass, its rows before or after ours.
TEST_P(Strict, Company) {
  for (const bool ours_first : {true, false}) {
    ModelFixture fixture(folder_);
    const auto end = static_cast<uint32_t>(tokens_.size());
    std::vector<int32_t> ours(fixture.pages().begin(), fixture.pages().begin() + 4);
    std::vector<int32_t> theirs(fixture.pages().begin() + 4, fixture.pages().begin() + 8);
    std::vector<int32_t> reversed(tokens_.rbegin(), tokens_.rend());
    for (uint32_t i = 0; i < end;) {
      const uint32_t limit = i < half_ ? half_ : end;
      const uint32_t count = std::min(4u, limit - i);
      const std::span<const int32_t> all(tokens_);
      const std::span<const int32_t> other(reversed);
      PassSpan mine{.slot = 0,
                    .form = i < half_ ? AttentionForm::kUnabsorbed : AttentionForm::kAbsorbed,
                    .position_begin = i,
                    .tokens = all.subspan(i, count),
                    .pages = ours};
      PassSpan guest{.slot = 1,
                     .form = AttentionForm::kAbsorbed,
                     .position_begin = i,
                     .tokens = other.subspan(i, count),
                     .pages = theirs};
      const std::array<PassSpan, 2> spans =
          ours_first ? std::array{mine, guest} : std::array{guest, mine};
      fixture.run({.spans = spans, .samples = {}});
      i += count;
    }
    expect_same(fixture, "company");
  }
}

// Prompt and generated tokens use two forms of the same sum: close, not equal.
TEST_P(Strict, FormsAgreeWithinTheBound) {
  const reference::Golden golden = reference::read_golden(folder_);
  const double margin = *std::min_element(golden.router_margin.begin(), golden.router_margin.end());
  ModelFixture fixture(folder_);
  fixture.pass(tokens_, 0, half_, AttentionForm::kUnabsorbed);
  const std::vector<float> as_prompt = fixture.logits();
  ModelFixture other(folder_);
  other.pass(tokens_, 0, half_, AttentionForm::kAbsorbed);
  const std::vector<float> as_decoded = other.logits();
  double difference = 0.0;
  double norm = 0.0;
  for (size_t i = 0; i < as_prompt.size(); ++i) {
    difference += (as_prompt[i] - as_decoded[i]) * (as_prompt[i] - as_decoded[i]);
    norm += as_prompt[i] * as_prompt[i];
  }
  const bool exact = golden.bf16_rel_l2.empty();
  double bound = 1e-3;
  if (!exact) {
    bound = *std::max_element(golden.bf16_rel_l2.begin(), golden.bf16_rel_l2.end());
  }
  EXPECT_LE(std::sqrt(difference / norm), bound) << "smallest router margin " << margin;
}

INSTANTIATE_TEST_SUITE_P(Models, Strict, ::testing::ValuesIn(golden_names()),
                         [](const auto& param_info) { return param_info.param; });

}  // namespace
}  // namespace dsv3::testing
