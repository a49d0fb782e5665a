// Sequences that generate side by side below the engine, in the ways an engine may drive a model:
// one pass at a time or one ahead, whole or in slices, in changing order.
#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "model/model_fixture.h"

namespace dsv3::testing {

struct Drive {
  bool ahead = false;  // the next pass is launched before the results of the one before are read
  bool in_slices = false;
  bool reorders = false;  // another order of the sequences in every pass
  uint32_t slot_shift = 0;
  uint32_t page_seed = 0;  // 0: pages in order
};

class SideBySide {
 public:
  static constexpr uint32_t kSequences = 3;
  static constexpr uint32_t kPrompts[kSequences] = {7, 9, 60};  // the last reaches its second page

  // Prompts are parts of `text`, of different lengths.
  SideBySide(ModelFixture& fixture, std::span<const int32_t> text, const Drive& drive)
      : fixture_(fixture), drive_(drive), passes_(std::min<uint32_t>(2, 1 + drive.ahead)) {
    std::vector<int32_t> pages = fixture.pages();
    if (drive.page_seed != 0) {
      std::shuffle(pages.begin(), pages.end(), std::mt19937(drive.page_seed));
    }
    const size_t each = pages.size() / kSequences;
    const uint32_t slots = fixture.model().limits.slots;
    for (uint32_t s = 0; s < kSequences; ++s) {
      Sequence& sequence = sequences_[s];
      sequence.slot = (s + drive.slot_shift) % slots;
      for (uint32_t i = 0; i < kPrompts[s]; ++i) {
        sequence.tokens.push_back(text[(s + i) % text.size()]);
      }
      sequence.prompt = static_cast<uint32_t>(sequence.tokens.size());
      sequence.pages.assign(pages.begin() + each * s, pages.begin() + each * (s + 1));
    }
  }

  // The prompts in one pass, then `steps` tokens of each sequence. [sequence] all tokens.
  std::vector<std::vector<int32_t>> generate(uint32_t steps) {
    for (uint32_t step = 0; step < steps; ++step) {
      Pass& pass = passes_[step % passes_.size()];
      build(pass, step);
      fixture_.launch(
          {.spans = pass.spans, .samples = pass.samples, .in_slices = drive_.in_slices});
      scribble(pass);
      if (!drive_.ahead) {
        commit(pass);
      } else if (step > 0) {
        commit(passes_[(step + 1) % passes_.size()]);
      }
    }
    if (drive_.ahead) commit(passes_[(steps + 1) % passes_.size()]);
    std::vector<std::vector<int32_t>> out;
    for (const Sequence& sequence : sequences_) out.push_back(sequence.tokens);
    return out;
  }

 private:
  struct Sequence {
    uint32_t slot = 0;
    uint32_t prompt = 0;
    std::vector<int32_t> tokens;  // those the host has seen
    std::vector<int32_t> pages;
  };
  struct Pass {
    std::vector<uint32_t> order;  // sequences
    std::vector<std::vector<int32_t>> tokens;
    std::vector<LogitBias> biases;
    std::vector<uint32_t> mask;
    std::vector<PassSpan> spans;
    std::vector<PassSample> samples;
  };

  void build(Pass& pass, uint32_t step) {
    const uint32_t vocab = fixture_.model().config.vocab;
    pass = {};
    pass.biases = {{3, -2.0f}, {5, 4.0f}, {7, 1.0f}};
    pass.mask.assign((vocab + 31) / 32, 0xfffffff7u);  // never token 3 of 32
    pass.tokens.resize(kSequences);
    for (uint32_t i = 0; i < kSequences; ++i) {
      pass.order.push_back(drive_.reorders ? (i * (1 + step % 2) + step) % kSequences : i);
    }
    for (const uint32_t s : pass.order) {
      const Sequence& sequence = sequences_[s];
      const uint32_t begin = step == 0 ? 0 : sequence.prompt + step - 1;
      std::vector<int32_t>& tokens = pass.tokens[s];
      if (step == 0) {
        tokens = sequence.tokens;
      } else {
        tokens = {begin < sequence.tokens.size() ? sequence.tokens[begin] : kDrawnToken};
      }
      pass.spans.push_back(
          {.slot = sequence.slot,
           .form = step == 0 ? AttentionForm::kUnabsorbed : AttentionForm::kAbsorbed,
           .position_begin = begin,
           .tokens = tokens,
           .pages = sequence.pages});
      pass.samples.push_back(sample(pass, s, sequence.prompt + step));
    }
  }

  // Sequence 0 is greedy, 1 is under penalties and biases, 2 under a mask.
  PassSample sample(const Pass& pass, uint32_t s, uint32_t position) const {
    PassSample sample{.slot = sequences_[s].slot, .row = {}};
    sample.row.position = position;
    sample.row.seed = 11 * s + 1;
    sample.row.generated_begin = sequences_[s].prompt;
    sample.row.top_logprobs = s;
    if (s == 0) return sample;
    sample.row.temperature = 0.9f;
    if (s == 1) {
      sample.row.repetition_penalty = 1.3f;
      sample.row.frequency_penalty = 0.4f;
      sample.row.biases = pass.biases.data();
      sample.row.bias_count = static_cast<uint32_t>(pass.biases.size());
    } else {
      sample.row.allowed = pass.mask.data();
      sample.row.top_p = 0.95f;
    }
    return sample;
  }

  // Nothing of the input need outlive begin().
  static void scribble(Pass& pass) {
    for (std::vector<int32_t>& tokens : pass.tokens) std::fill(tokens.begin(), tokens.end(), -77);
    std::fill(pass.biases.begin(), pass.biases.end(), LogitBias{-1, 1e30f});
    std::fill(pass.mask.begin(), pass.mask.end(), 0u);
    std::fill(pass.spans.begin(), pass.spans.end(), PassSpan{});
    std::fill(pass.samples.begin(), pass.samples.end(), PassSample{});
  }

  void commit(const Pass& pass) {
    const auto results = fixture_.transformer().wait_results();
    ASSERT_EQ(results.size(), kSequences);
    for (uint32_t i = 0; i < kSequences; ++i) {
      sequences_[pass.order[i]].tokens.push_back(results[i].token);
      EXPECT_EQ(results[i].top_count, pass.order[i]);
    }
  }

  ModelFixture& fixture_;
  const Drive drive_;
  Sequence sequences_[kSequences];
  std::vector<Pass> passes_;  // those in flight, in turn
};

}  // namespace dsv3::testing
