#include "engine/fake_model.h"

#include <algorithm>

#include "base/random.h"

namespace dsv3::test {
namespace {

constexpr uint64_t kStart = 0x1234567;

uint64_t fold_plain(uint64_t hash, int32_t token) {
  return mix64(hash * 31 + static_cast<uint64_t>(token) + 1);
}

}  // namespace

FakeModel::FakeModel(const PassLimits& limits, FakeClock& clock) : limits_(limits), clock_(clock) {
  cells_.resize(size_t{limits.page_count} * kPageTokens);
  page_users_.resize(limits.page_count);
  spans_.resize(limits.rows_max);
  for (Span& span : spans_) {
    span.tokens.reserve(limits.rows_max);
    span.pages.reserve(limits.page_count);
  }
  samples_.reserve(limits.slots);
  sample_history_.reserve(limits.slots);
  sample_biases_.reserve(limits.slots);
  results_.reserve(limits.slots);
  slot_hash_.assign(limits.slots, 0);
  slot_plain_.assign(limits.slots, 0);
}

uint64_t FakeModel::fold(uint64_t hash, int32_t token, AttentionForm form) {
  return mix64(hash * 37 + static_cast<uint64_t>(token) * 2 + static_cast<uint64_t>(form) + 1);
}

void FakeModel::check(bool is_good, const char* what) {
  if (!is_good && defect.empty()) defect = what;
}

void FakeModel::check_span(const PassSpan& span) {
  check(!span.tokens.empty(), "an empty span");
  check(span.slot < limits_.slots, "slot out of range");
  const uint64_t end = uint64_t{span.position_begin} + span.tokens.size();
  check(end <= limits_.positions_max, "position out of range");
  check(span.pages.size() * kPageTokens >= end, "page table too short");
  for (const int32_t token : span.tokens) {
    check(token >= 0 && static_cast<uint32_t>(token) < limits_.vocab, "token out of range");
  }
  for (const int32_t page : span.pages) {
    if (page < 0 || static_cast<uint32_t>(page) >= limits_.page_count) {
      check(false, "page out of range");
      continue;
    }
    int32_t& user = page_users_[static_cast<size_t>(page)];
    check(user < 0 || user == static_cast<int32_t>(span.slot), "page of two sequences");
    user = static_cast<int32_t>(span.slot);
  }
}

void FakeModel::begin(const PassInput& input) {
  ++pass_count;
  next_segment_ = 0;
  rows_last = 0;
  span_count_ = 0;
  std::fill(page_users_.begin(), page_users_.end(), -1);
  check(input.spans.size() <= limits_.rows_max, "too many spans");
  for (const PassSpan& span : input.spans) {
    check_span(span);
    Span& copy = spans_[span_count_++];
    copy.span = span;
    copy.tokens.assign(span.tokens.begin(), span.tokens.end());
    copy.pages.assign(span.pages.begin(), span.pages.end());
    rows_last += static_cast<uint32_t>(span.tokens.size());
  }
  rows_peak = std::max(rows_peak, rows_last);
  check(rows_last <= limits_.rows_max, "too many rows");
  check(input.samples.size() <= limits_.slots, "too many samples");
  check(!input.spans.empty() || !input.samples.empty(), "an empty pass");
  samples_.assign(input.samples.begin(), input.samples.end());
  sample_history_.clear();
  sample_biases_.clear();
  for (const PassSample& sample : samples_) {
    check(sample.row.history_count == sample.row.position,
          "draw position is not the history's end");
    sample_history_.push_back(history_hash(sample.row));
    sample_biases_.push_back(bias_hash(sample.row));
  }
}

uint64_t FakeModel::history_hash(const SampleRow& row) {
  uint64_t hash = kStart;
  for (uint32_t i = 0; i < row.history_count; ++i) hash = fold_plain(hash, row.history[i]);
  return hash;
}

uint64_t FakeModel::bias_hash(const SampleRow& row) {
  uint64_t hash = kStart;
  for (uint32_t i = 0; i < row.bias_count; ++i) hash = fold_plain(hash, row.biases[i].token);
  return hash;
}

void FakeModel::run_segment(uint32_t index) {
  check(index == next_segment_, "segment out of order");
  next_segment_ = index + 1;
  if (on_segment) on_segment(index);
  if (fail_next) {
    const Status status = *fail_next;
    fail_next.reset();
    throw Error(status, "injected");
  }
  clock_.now += segment_us + row_us * rows_last;
  if (index == 0) append_rows();
  if (index + 1 == segments) finish_pass();
}

void FakeModel::append_rows() {
  for (uint32_t i = 0; i < span_count_; ++i) {
    const Span& span = spans_[i];
    for (uint32_t row = 0; row < span.tokens.size(); ++row) {
      const uint32_t position = span.span.position_begin + row;
      const auto page = static_cast<size_t>(span.pages[position / kPageTokens]);
      cells_[page * kPageTokens + position % kPageTokens] = {span.span.slot, position,
                                                             span.tokens[row], span.span.form};
    }
  }
}

uint64_t FakeModel::read_cells(const Span& span, uint32_t end, uint64_t* plain) {
  uint64_t hash = kStart;
  *plain = kStart;
  for (uint32_t position = 0; position < end; ++position) {
    const auto page = static_cast<size_t>(span.pages[position / kPageTokens]);
    const Cell& cell = cells_[page * kPageTokens + position % kPageTokens];
    check(cell.position == position && cell.slot == span.span.slot, "a page lost its latents");
    hash = fold(hash, cell.token, cell.form);
    *plain = fold_plain(*plain, cell.token);
  }
  return hash;
}

void FakeModel::finish_pass() {
  for (uint32_t i = 0; i < span_count_; ++i) {
    const Span& span = spans_[i];
    const auto end = static_cast<uint32_t>(span.span.position_begin + span.tokens.size());
    uint64_t plain = 0;
    const uint64_t hash = read_cells(span, end, &plain);
    if (!span.span.last_of_slot) continue;
    slot_hash_[span.span.slot] = hash;
    slot_plain_[span.span.slot] = plain;
  }
  results_.clear();
  for (size_t i = 0; i < samples_.size(); ++i) {
    const PassSample& sample = samples_[i];
    check(history_hash(sample.row) == sample_history_[i], "history changed during the pass");
    check(bias_hash(sample.row) == sample_biases_[i], "biases changed during the pass");
    check(slot_plain_[sample.slot] == sample_history_[i], "h does not follow the history");
    SampleResult result;
    result.token = draw(slot_hash_[sample.slot], sample.row);
    if (nan_position && *nan_position == sample.row.position) result.token = -1;
    result.logprob = -0.5f;
    result.top_count = sample.row.top_logprobs;
    results_.push_back(result);
  }
}

int32_t FakeModel::draw(uint64_t hash, const SampleRow& row) const {
  if (!script.empty()) return script[row.position % script.size()];
  for (uint64_t attempt = 0;; ++attempt) {
    const uint64_t bits = random_bits(hash, row.position, row.seed + attempt);
    auto token = static_cast<int32_t>('a' + (bits >> 8) % 26);
    if (bits % 8 == 0) token = static_cast<int32_t>((bits >> 8) % 256);
    if (bits % 8 == 1) {
      constexpr uint64_t kWords = kTinyWordLast - kTinyWordFirst + 1;
      token = kTinyWordFirst + static_cast<int32_t>((bits >> 8) % kWords);
    }
    if (bits % 61 == 1) token = kTinyThink;
    if (bits % 61 == 2) token = kTinyThinkEnd;
    if (draws_eos && bits % 97 == 0) token = kTinyEos;
    const bool is_banned =
        std::any_of(row.biases, row.biases + row.bias_count,
                    [token](const LogitBias& bias) { return bias.token == token; });
    if (!is_banned) return token;
  }
}

void FakeModel::logits(uint32_t slot, std::span<float> out) {
  for (uint32_t i = 0; i < out.size(); ++i) out[i] = logit(slot_hash_[slot], i);
}

float FakeModel::logit(uint64_t hash, uint32_t token) {
  return static_cast<float>(random_unit(hash, token));
}

}  // namespace dsv3::test
