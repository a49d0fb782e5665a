// From logits to the distribution a token is drawn from: which order, which ties, in double.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "reference/reference_ops.h"

namespace dsv3::reference {

struct SamplingParams {
  double repetition_penalty = 1.0;  // every token seen in prompt or output: divide positive logits,
                                    // multiply negative ones
  double presence_penalty = 0.0;    // subtracted once from every generated token
  double frequency_penalty = 0.0;   // subtracted once per occurrence in the generated tokens
  std::vector<std::pair<int32_t, double>> logit_bias;  // token, addend
  double temperature = 1.0;                            // 0: all mass on the argmax
  size_t top_k = 0;                                    // 0: off
  double top_p = 1.0;                                  // 1: off
  double min_p = 0.0;                                  // 0: off
};

// Applied in the order of the fields. Equal logits: the lower token id ranks first. top_p keeps the
// shortest ranked prefix whose mass reaches it (at least one token); min_p keeps what has at least
// min_p times the largest probability. -> [vocab], sums to 1.
Values sampling_probabilities(View logits, const SamplingParams& params,
                              std::span<const int32_t> prompt, std::span<const int32_t> generated);

// The first three stages only: penalties and bias, before the temperature. -> [vocab]
Values penalized_logits(View logits, const SamplingParams& params, std::span<const int32_t> prompt,
                        std::span<const int32_t> generated);

Values log_softmax(View logits);

// The lower index wins ties; NaN never wins.
size_t argmax(View values);

}  // namespace dsv3::reference
