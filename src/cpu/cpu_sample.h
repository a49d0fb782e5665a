// Which token comes next? The steps of one row, from raw logits to the drawn token.
#pragma once

#include <cstdint>

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
  RowSampler(const float* raw, uint32_t vocab, const SampleRow& row, const WorkerScratch& scratch)
      : raw_(raw),
        vocab_(vocab),
        row_(row),
        logits_(scratch.logits),
        order_(scratch.order),
        counts_(scratch.counts) {}

  SampleResult sample();

 private:
  void load();  // logits_ = raw, what is not finite as -inf
  void penalise();
  void mask();  // bias, allowed set, vocabulary limit
  int32_t best() const;
  SampleCut cut(SampleCut best) const;
  SampleCut nucleus_cut(uint32_t candidates, float top) const;
  SampleCut weight_cut(uint32_t candidates, SampleCut best) const;
  uint32_t gather(float at_least) const;
  double weight(float logit, float top) const;
  int32_t draw(const SampleCut& cut, float top) const;
  void report(SampleResult& result) const;

  const float* raw_;  // [V]
  const uint32_t vocab_;
  const SampleRow& row_;
  float* logits_;     // [V]
  uint32_t* order_;   // [V]
  uint32_t* counts_;  // [V]
};

}  // namespace dsv3
