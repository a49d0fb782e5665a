// Which token comes next? The steps of one row, from raw logits to the drawn token.
#pragma once

#include <cstdint>

#include "cpu/cpu_kernels.h"
#include "cpu/cpu_scratch.h"
#include "ops/args.h"

namespace dsv3 {

// The last token, in descending order of (logit, lower id first), that may be drawn.
struct SampleCut {
  float logit = 0.0f;
  uint32_t token = 0xffffffffu;
};

// The sampler of one row. `scratch` holds V floats, ids and counters.
class RowSampler {
 public:
  RowSampler(const float* raw, uint32_t vocab, const SampleRow& row, const CpuKernels& kernels,
             const WorkerScratch& scratch)
      : raw_(raw),
        vocab_(vocab),
        end_(row.vocab_limit == 0 ? vocab : row.vocab_limit),
        row_(row),
        kernels_(kernels),
        logits_(scratch.logits),
        order_(scratch.order),
        counts_(scratch.counts) {}

  SampleResult sample();

 private:
  bool penalises() const;
  bool keeps_logits() const;  // nothing but the vocabulary limit changes a logit
  void load();                // logits_ = raw, what is not finite as -inf
  void penalise();
  void mask();  // bias, allowed set
  void settle(uint32_t token);
  SampleCut best_of(const float* logits, uint32_t count) const;
  uint32_t gather(double reach, float top) const;
  double mass_of(uint32_t candidates, float top) const;
  double exp_total(const float* logits, uint32_t count, float top, float factor) const;
  uint32_t token_of(float top, int32_t guess) const;
  float inverse_temperature() const;

  SampleCut cut(SampleCut best) const;
  uint32_t top_candidates(float top) const;
  uint32_t nucleus_candidates(float top, double& total) const;
  SampleCut nucleus_cut(uint32_t candidates, float top, double total) const;
  SampleCut weight_cut(uint32_t candidates, SampleCut best) const;
  double weight(float logit, float top) const;
  uint32_t keep(const SampleCut& cut);
  int32_t draw(const SampleCut& cut, float top);
  uint32_t draw_index(uint32_t kept, float top);

  void report(float top, SampleResult& result) const;
  void report_top(SampleResult& result) const;

  const float* raw_;  // [V]
  const uint32_t vocab_;
  const uint32_t end_;  // of the tokens that may be drawn
  const SampleRow& row_;
  const CpuKernels& kernels_;
  float* logits_;     // [V]
  uint32_t* order_;   // [V]
  uint32_t* counts_;  // [V]
};

}  // namespace dsv3
