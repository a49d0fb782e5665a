#include "model/pass_input.h"

#include <algorithm>
#include <cstring>

#include "base/checked.h"

namespace dsv3 {
namespace {

uint32_t pages_of(uint64_t positions) {
  return static_cast<uint32_t>(ceil_div<uint64_t>(positions, kPageTokens));
}

uint32_t mask_words(uint32_t vocab) { return ceil_div(vocab, 32u); }

bool is_decode(const PassInput& input, uint64_t rows, uint64_t last) {
  const auto one_generated = [](const PassSpan& span) {
    return span.tokens.size() == 1 && span.form == AttentionForm::kAbsorbed;
  };
  return rows > 0 && rows == input.spans.size() && rows == last && rows == input.samples.size() &&
         std::all_of(input.spans.begin(), input.spans.end(), one_generated);
}

}  // namespace

PassStaging::Layout PassStaging::Layout::carve(Carver& carver, const Counts& counts) {
  Layout layout;
  layout.tokens = carver.take<int32_t>(counts.rows);
  layout.positions = carver.take<uint32_t>(counts.rows);
  layout.slots = carver.take<uint32_t>(counts.rows);
  layout.row_spans = carver.take<uint32_t>(counts.rows);
  layout.spans = carver.take<BatchSpan>(counts.spans);
  layout.last_rows = carver.take<uint32_t>(counts.last);
  layout.last_slots = carver.take<uint32_t>(counts.last);
  layout.sample_slots = carver.take<uint32_t>(counts.samples);
  layout.sample_rows = carver.take<SampleRow>(counts.samples);
  layout.pages = carver.take<int32_t>(counts.pages);
  layout.biases = carver.take<LogitBias>(counts.biases);
  layout.mask_words = carver.take<uint32_t>(counts.mask_words);
  return layout;
}

PassStaging::Counts PassStaging::counts_max(const PassLimits& limits) {
  const uint64_t slots = limits.slots;
  return {.rows = limits.rows_max,
          .spans = limits.rows_max,
          .last = slots,
          .samples = slots,
          .pages = slots * pages_of(limits.positions_max),
          .biases = slots * kPassBiasesMax,
          .mask_words = slots * mask_words(limits.vocab)};
}

uint64_t PassStaging::block_bytes(const PassLimits& limits) {
  Carver measure;
  Layout::carve(measure, counts_max(limits));
  return measure.bytes();
}

StagedBytes PassStaging::bytes(const Device& device, const PassLimits& limits) {
  const uint64_t each = block_bytes(limits);
  if (device.reads_host_memory()) return {.device = each, .host = 0};
  const uint64_t blocks = uint64_t{device.passes_ahead()} + 1;
  return {.device = each, .host = mul_or_fail(each, blocks, "bytes of a pass's input")};
}

PassStaging::PassStaging(Device& device, const PassLimits& limits, const TokenHistory& history)
    : device_(device),
      limits_(limits),
      history_(history),
      mask_words_each_(mask_words(limits.vocab)),
      slot_pages_(limits.slots) {
  // A pass that reads the staging block itself is over before the next is written there.
  DSV3_ASSERT(!device.reads_host_memory() || device.passes_ahead() == 0);
  const uint64_t bytes = block_bytes(limits);
  if (!device.reads_host_memory()) block_ = device.allocate(bytes, "input of a pass");
  for (uint32_t i = 0; i <= device.passes_ahead(); ++i) {
    staging_.push_back({.block = device.allocate_host(bytes, "staged input of a pass"),
                        .sent = device.make_marker()});
  }
}

PassArrays PassStaging::send(const PassInput& input) {
  const Counts counts = count(input);
  Staging& staging = staging_[next_];
  const bool is_shared = device_.reads_host_memory();
  Carver host_carver(staging.block);
  const Layout host = Layout::carve(host_carver, counts);
  Carver device_carver(is_shared ? staging.block : block_);
  const Layout device = Layout::carve(device_carver, counts);
  device_.wait(*staging.sent);
  fill_spans(input, host, device);
  fill_samples(input, host, device);
  if (!is_shared) {
    device_.copy_to_device(block_.data(), staging.block.data(), host_carver.bytes());
    device_.mark(*staging.sent);
    next_ = (next_ + 1) % staging_.size();
  }
  PassArrays arrays{.batch = {.rows = static_cast<uint32_t>(counts.rows),
                              .tokens = device.tokens,
                              .positions = device.positions,
                              .spans = device.spans,
                              .span_count = static_cast<uint32_t>(counts.spans),
                              .row_spans = device.row_spans,
                              .host_spans = host.spans},
                    .tokens = device.tokens,
                    .slots = device.slots,
                    .last_count = static_cast<uint32_t>(counts.last),
                    .last_rows = device.last_rows,
                    .last_slots = device.last_slots,
                    .sample_count = static_cast<uint32_t>(counts.samples),
                    .sample_slots = device.sample_slots,
                    .sample_rows = device.sample_rows,
                    .is_decode = is_decode(input, counts.rows, counts.last)};
  for (const PassSpan& span : input.spans) {
    if (span.form != AttentionForm::kUnabsorbed) continue;
    arrays.batch.unabsorbed_rows += static_cast<uint32_t>(span.tokens.size());
  }
  return arrays;
}

PassStaging::Counts PassStaging::count(const PassInput& input) {
  Counts counts;
  counts.spans = input.spans.size();
  counts.samples = input.samples.size();
  for (const PassSpan& span : input.spans) {
    DSV3_ASSERT(span.slot < limits_.slots && !span.tokens.empty());
    DSV3_ASSERT(uint64_t{span.position_begin} + span.tokens.size() <= limits_.positions_max);
    counts.rows += span.tokens.size();
    if (span.last_of_slot) ++counts.last;
  }
  for (const PassSample& sample : input.samples) {
    DSV3_ASSERT(sample.slot < limits_.slots && sample.row.position <= limits_.positions_max);
    DSV3_ASSERT(sample.row.bias_count <= kPassBiasesMax);
    counts.biases += sample.row.bias_count;
    if (sample.row.allowed != nullptr) counts.mask_words += mask_words_each_;
  }
  DSV3_ASSERT(counts.rows <= limits_.rows_max && counts.last <= limits_.slots);
  DSV3_ASSERT(counts.samples <= limits_.slots);
  place_pages(input, counts);
  return counts;
}

// One table a slot, long enough for the last of its spans.
void PassStaging::place_pages(const PassInput& input, Counts& counts) {
  for (const PassSpan& span : input.spans) slot_pages_[span.slot] = {};
  for (const PassSpan& span : input.spans) {
    const uint32_t needed = pages_of(uint64_t{span.position_begin} + span.tokens.size());
    DSV3_ASSERT(span.pages.size() >= needed);
    SlotPages& own = slot_pages_[span.slot];
    own.count = std::max(own.count, needed);
  }
  for (const PassSpan& span : input.spans) {
    SlotPages& own = slot_pages_[span.slot];
    if (own.has_place) continue;
    own.has_place = true;
    own.begin = counts.pages;
    counts.pages += own.count;
  }
}

void PassStaging::fill_spans(const PassInput& input, const Layout& host, const Layout& device) {
  uint32_t row = 0;
  uint32_t index = 0;
  uint32_t last = 0;
  for (const PassSpan& span : input.spans) {
    const auto count = static_cast<uint32_t>(span.tokens.size());
    const uint64_t table = slot_pages_[span.slot].begin;
    const uint32_t needed = pages_of(uint64_t{span.position_begin} + count);
    std::copy_n(span.pages.data(), needed, host.pages + table);
    host.spans[index] = {.row_begin = row,
                         .row_count = count,
                         .position_begin = span.position_begin,
                         .form = span.form,
                         .pages = device.pages + table};
    std::copy_n(span.tokens.data(), count, host.tokens + row);
    std::fill_n(host.slots + row, count, span.slot);
    std::fill_n(host.row_spans + row, count, index);
    for (uint32_t i = 0; i < count; ++i) host.positions[row + i] = span.position_begin + i;
    row += count;
    ++index;
    if (!span.last_of_slot) continue;
    host.last_rows[last] = row - 1;
    host.last_slots[last++] = span.slot;
  }
}

void PassStaging::fill_samples(const PassInput& input, const Layout& host, const Layout& device) {
  uint64_t bias = 0;
  uint64_t word = 0;
  for (size_t i = 0; i < input.samples.size(); ++i) {
    const PassSample& sample = input.samples[i];
    SampleRow row = sample.row;
    int32_t* const own_history = history_.tokens + sample.slot * history_.stride;
    row.history = own_history;
    row.history_count = row.position;
    row.drawn = row.position < limits_.positions_max ? own_history + row.position : nullptr;
    row.biases = nullptr;
    if (row.bias_count != 0) {
      std::copy_n(sample.row.biases, row.bias_count, host.biases + bias);
      row.biases = device.biases + bias;
      bias += row.bias_count;
    }
    if (row.allowed != nullptr) {
      std::copy_n(sample.row.allowed, mask_words_each_, host.mask_words + word);
      row.allowed = device.mask_words + word;
      word += mask_words_each_;
    }
    host.sample_slots[i] = sample.slot;
    host.sample_rows[i] = row;
  }
}

}  // namespace dsv3
