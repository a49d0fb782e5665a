#include "cpu/cpu_checks.h"

#include "base/checked.h"
#include "base/error.h"

namespace dsv3 {

void check_limit(const char* op, const char* limit, uint64_t found, uint64_t maximum) {
  if (found > maximum) {
    fail(Status::kInternal, op, ": ", found, " found, reserved ", limit, " ", maximum);
  }
}

void check_ids(const char* op, const char* argument, const int32_t* ids, uint64_t count,
               uint64_t end) {
  for (uint64_t i = 0; i < count; ++i) {
    if (ids[i] < 0 || static_cast<uint64_t>(ids[i]) >= end) {
      fail(Status::kInternal, op, ": ", argument, "[", i, "] is ", ids[i], ", wanted 0 to ",
           end - 1);
    }
  }
}

void check_spans(const char* op, const Batch& batch, const LatentPages& pages) {
  for (uint32_t s = 0; s < batch.span_count; ++s) {
    const BatchSpan& span = batch.spans[s];
    const uint64_t keys = uint64_t{span.position_begin} + span.row_count;
    if (span.pages == nullptr) {
      fail(Status::kInternal, op, ": batch.spans[", s, "].pages is null, wanted memory");
    }
    check_ids(op, "batch.spans[].pages", span.pages, ceil_div<uint64_t>(keys, kPageTokens),
              pages.page_count);
  }
}

void check_sample_row(const SampleRow& row, uint32_t vocab) {
  check_ids("sample", "history", row.history, row.history_count, vocab);
  for (uint32_t i = 0; i < row.bias_count; ++i) {
    check_ids("sample", "biases[].token", &row.biases[i].token, 1, vocab);
  }
  check_limit("sample", "kTopLogprobsMax", row.top_logprobs, kTopLogprobsMax);
  check_limit("sample", "vocabulary", row.vocab_limit, vocab);
}

}  // namespace dsv3
