// Which token comes next, for every row of logits?
#pragma once

#include "kernels/common/kernel_types.h"
#include "kernels/common/launch.h"

namespace dsv3::kernels {

inline constexpr uint32_t kTopLogprobsMax = 20;

// Mirrors dsv3::LogitBias.
struct LogitBias {
  int32_t token = 0;
  float bias = 0.0f;
};

// Mirrors dsv3::SampleRow; all it points to is device memory.
struct SampleRow {
  uint32_t position = 0;
  uint64_t seed = 0;
  float temperature = 0.0f;
  uint32_t top_k = 0;
  float top_p = 1.0f;
  float min_p = 0.0f;
  float repetition_penalty = 1.0f;
  float presence_penalty = 0.0f;
  float frequency_penalty = 0.0f;
  const int32_t* history = nullptr;
  uint32_t history_count = 0;
  uint32_t generated_begin = 0;
  const LogitBias* biases = nullptr;
  uint32_t bias_count = 0;
  const uint32_t* allowed = nullptr;
  uint32_t vocab_limit = 0;
  uint32_t top_logprobs = 0;
  int32_t* drawn = nullptr;
};

// Mirrors dsv3::SampleResult.
struct SampleResult {
  int32_t token = -1;
  uint32_t top_count = 0;
  float logprob = 0.0f;
  int32_t top_tokens[kTopLogprobsMax] = {};
  float top_logprobs[kTopLogprobsMax] = {};
};

// Row i of the logits by the rules of rows[i], read when the kernel runs. Tokens of history or
// biases outside the vocabulary are passed over. What the scratch holds before does not matter.
struct SampleParams {
  ConstMatrix logits;               // [R, V] F32
  const SampleRow* rows = nullptr;  // [R]
  SampleResult* results = nullptr;  // [R]
  float* adjusted = nullptr;        // [R, V] scratch
  uint32_t* counts = nullptr;       // [R, V] scratch
};
int launch_sample_any(const SampleParams& params, gpu::Stream* stream);

}  // namespace dsv3::kernels
