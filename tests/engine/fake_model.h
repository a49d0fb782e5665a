// A model whose next token is a hash of what its pages hold: any error in positions, forms, pages,
// chunking or preemption changes the text, and contract violations are written down as defects.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "model/pass.h"

namespace dsv3::test {

class FakeClock final : public Clock {
 public:
  uint64_t now_us() override { return now.load(); }
  std::atomic<uint64_t> now{1000};
};

// Ids of the tiny vocabulary, see tiny_tokenizer().
inline constexpr uint32_t kTinyVocab = 272;
inline constexpr int32_t kTinyBos = 256;
inline constexpr int32_t kTinyEos = 257;
inline constexpr int32_t kTinyThink = 258;
inline constexpr int32_t kTinyThinkEnd = 259;
inline constexpr int32_t kTinyWordFirst = 260;
inline constexpr int32_t kTinyWordLast = 265;

class FakeModel final : public PassModel {
 public:
  FakeModel(const PassLimits& limits, FakeClock& clock);

  const PassLimits& limits() const override { return limits_; }
  void begin(const PassInput& input) override;
  uint32_t segment_count() const override { return segments; }
  void run_segment(uint32_t index) override;
  std::span<const SampleResult> results() const override { return results_; }
  void logits(uint32_t slot, std::span<float> out) override;

  // The hash that the tokens before `count` with these forms lead to, and what it draws.
  static uint64_t fold(uint64_t hash, int32_t token, AttentionForm form);
  static float logit(uint64_t hash, uint32_t token);
  int32_t draw(uint64_t hash, const SampleRow& row) const;

  uint32_t segments = 3;
  uint64_t segment_us = 100;  // plus row_us for each row
  uint64_t row_us = 10;
  bool draws_eos = true;
  std::optional<uint32_t> nan_position;
  std::function<void(uint32_t segment)> on_segment;  // before it computes
  std::optional<Status> fail_next;                   // the next segment throws this
  std::vector<int32_t> script;                       // drawn by position when not empty

  std::string defect;       // the first violation of the contract, empty = none
  uint32_t pass_count = 0;  // begun
  uint32_t rows_last = 0;   // of the last pass begun
  uint32_t rows_peak = 0;

 private:
  struct Cell {
    uint32_t slot = 0;
    uint32_t position = 0;
    int32_t token = -1;
    AttentionForm form = AttentionForm::kUnabsorbed;
  };
  struct Span {
    PassSpan span;
    std::vector<int32_t> tokens;
    std::vector<int32_t> pages;
  };

  void check(bool is_good, const char* what);
  void check_span(const PassSpan& span);
  void append_rows();
  void finish_pass();
  uint64_t read_cells(const Span& span, uint32_t end, uint64_t* plain);
  static uint64_t history_hash(const SampleRow& row);
  static uint64_t bias_hash(const SampleRow& row);

  const PassLimits limits_;
  FakeClock& clock_;
  std::vector<Cell> cells_;          // [page_count * 64]
  std::vector<int32_t> page_users_;  // [page_count] slot that uses it in this pass, -1 = none
  std::vector<Span> spans_;          // reused: begin() allocates nothing
  uint32_t span_count_ = 0;
  std::vector<PassSample> samples_;
  std::vector<uint64_t> sample_history_;  // hash at begin(): the history must not change
  std::vector<uint64_t> sample_biases_;   // likewise
  std::vector<SampleResult> results_;
  std::vector<uint64_t> slot_hash_;   // [slots] what h stands for
  std::vector<uint64_t> slot_plain_;  // [slots] the same without forms: to compare with histories
  uint32_t next_segment_ = 0;
};

}  // namespace dsv3::test
