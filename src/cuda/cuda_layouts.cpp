// Do kernels see what the host wrote? Arrays of structs travel to the GPU as bytes, so the mirror
// structs of kernels/ must equal those of src/ops/args.h field by field. Nothing here runs.
#include <cstddef>

#include "base/dtype.h"
#include "kernels/common/kernel_types.h"
#include "kernels/sample.h"
#include "ops/args.h"

namespace dsv3 {
namespace {

template <typename T>
constexpr size_t size_of = sizeof(T);

#define DSV3_SAME_SIZE(mirror, original)                                                    \
  static_assert(sizeof(mirror) == sizeof(original) && alignof(mirror) == alignof(original), \
                "size of a mirror struct")
#define DSV3_SAME_FIELD(mirror, field, original, original_field)                           \
  static_assert(                                                                           \
      offsetof(mirror, field) == offsetof(original, original_field) &&                     \
          size_of<decltype(mirror::field)> == size_of<decltype(original::original_field)>, \
      "place of a mirror struct's field")

// Elements and constants.
static_assert(static_cast<uint8_t>(kernels::Type::kF8E4M3) == static_cast<uint8_t>(DType::kF8E4M3));
static_assert(static_cast<uint8_t>(kernels::Type::kF16) == static_cast<uint8_t>(DType::kF16));
static_assert(static_cast<uint8_t>(kernels::Type::kBF16) == static_cast<uint8_t>(DType::kBF16));
static_assert(static_cast<uint8_t>(kernels::Type::kF32) == static_cast<uint8_t>(DType::kF32));
static_assert(kernels::kPageTokens == kPageTokens);
static_assert(kernels::kBlock == kBlock);
static_assert(kernels::kTopLogprobsMax == kTopLogprobsMax);
static_assert(static_cast<uint8_t>(AttentionForm::kUnabsorbed) == 0);
static_assert(static_cast<uint8_t>(AttentionForm::kAbsorbed) == 1);

DSV3_SAME_SIZE(kernels::Weights, Weight);
DSV3_SAME_FIELD(kernels::Weights, data, Weight, data);
DSV3_SAME_FIELD(kernels::Weights, type, Weight, dtype);
DSV3_SAME_FIELD(kernels::Weights, rows, Weight, rows);
DSV3_SAME_FIELD(kernels::Weights, cols, Weight, cols);
DSV3_SAME_FIELD(kernels::Weights, stride, Weight, stride);
DSV3_SAME_FIELD(kernels::Weights, scales, Weight, scales);
DSV3_SAME_FIELD(kernels::Weights, scale_stride, Weight, scale_stride);

DSV3_SAME_SIZE(kernels::ExpertMatrices, ExpertWeights);
DSV3_SAME_FIELD(kernels::ExpertMatrices, gate, ExpertWeights, gate);
DSV3_SAME_FIELD(kernels::ExpertMatrices, up, ExpertWeights, up);
DSV3_SAME_FIELD(kernels::ExpertMatrices, down, ExpertWeights, down);

DSV3_SAME_SIZE(kernels::Span, BatchSpan);
DSV3_SAME_FIELD(kernels::Span, row_begin, BatchSpan, row_begin);
DSV3_SAME_FIELD(kernels::Span, row_count, BatchSpan, row_count);
DSV3_SAME_FIELD(kernels::Span, position_begin, BatchSpan, position_begin);
DSV3_SAME_FIELD(kernels::Span, form, BatchSpan, form);
DSV3_SAME_FIELD(kernels::Span, pages, BatchSpan, pages);

DSV3_SAME_SIZE(kernels::LogitBias, LogitBias);
DSV3_SAME_FIELD(kernels::LogitBias, token, LogitBias, token);
DSV3_SAME_FIELD(kernels::LogitBias, bias, LogitBias, bias);

DSV3_SAME_SIZE(kernels::SampleRow, SampleRow);
DSV3_SAME_FIELD(kernels::SampleRow, position, SampleRow, position);
DSV3_SAME_FIELD(kernels::SampleRow, seed, SampleRow, seed);
DSV3_SAME_FIELD(kernels::SampleRow, temperature, SampleRow, temperature);
DSV3_SAME_FIELD(kernels::SampleRow, top_k, SampleRow, top_k);
DSV3_SAME_FIELD(kernels::SampleRow, top_p, SampleRow, top_p);
DSV3_SAME_FIELD(kernels::SampleRow, min_p, SampleRow, min_p);
DSV3_SAME_FIELD(kernels::SampleRow, repetition_penalty, SampleRow, repetition_penalty);
DSV3_SAME_FIELD(kernels::SampleRow, presence_penalty, SampleRow, presence_penalty);
DSV3_SAME_FIELD(kernels::SampleRow, frequency_penalty, SampleRow, frequency_penalty);
DSV3_SAME_FIELD(kernels::SampleRow, history, SampleRow, history);
DSV3_SAME_FIELD(kernels::SampleRow, history_count, SampleRow, history_count);
DSV3_SAME_FIELD(kernels::SampleRow, generated_begin, SampleRow, generated_begin);
DSV3_SAME_FIELD(kernels::SampleRow, biases, SampleRow, biases);
DSV3_SAME_FIELD(kernels::SampleRow, bias_count, SampleRow, bias_count);
DSV3_SAME_FIELD(kernels::SampleRow, allowed, SampleRow, allowed);
DSV3_SAME_FIELD(kernels::SampleRow, vocab_limit, SampleRow, vocab_limit);
DSV3_SAME_FIELD(kernels::SampleRow, top_logprobs, SampleRow, top_logprobs);
DSV3_SAME_FIELD(kernels::SampleRow, drawn, SampleRow, drawn);

DSV3_SAME_SIZE(kernels::SampleResult, SampleResult);
DSV3_SAME_FIELD(kernels::SampleResult, token, SampleResult, token);
DSV3_SAME_FIELD(kernels::SampleResult, top_count, SampleResult, top_count);
DSV3_SAME_FIELD(kernels::SampleResult, logprob, SampleResult, logprob);
DSV3_SAME_FIELD(kernels::SampleResult, top_tokens, SampleResult, top_tokens);
DSV3_SAME_FIELD(kernels::SampleResult, top_logprobs, SampleResult, top_logprobs);

#undef DSV3_SAME_SIZE
#undef DSV3_SAME_FIELD

}  // namespace
}  // namespace dsv3
