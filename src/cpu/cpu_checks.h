// What the CPU can check because its device memory is host memory: the contents of ids and spans,
// and the limits its scratch was taken for.
#pragma once

#include "ops/ops.h"

namespace dsv3 {

// `found` against a limit of OpsLimits: Error{INTERNAL} naming op and limit.
void check_limit(const char* op, const char* limit, uint64_t found, uint64_t maximum);
// Each id in [0, end).
void check_ids(const char* op, const char* argument, const int32_t* ids, uint64_t count,
               uint64_t end);
// Every page that the spans need exists.
void check_spans(const char* op, const Batch& batch, const LatentPages& pages);
// Tokens of history and biases lie in the vocabulary, top_logprobs in its bound.
void check_sample_row(const SampleRow& row, uint32_t vocab);

}  // namespace dsv3
