// What the engine steps: one pass over a ragged batch, cut into segments. Transformer implements
// it; tests put a fake in its place, so that the scheduler can be driven by a seed.
#pragma once

#include <cstdint>
#include <span>

#include "ops/args.h"

namespace dsv3 {

// Fixed for the life of a loaded model.
struct PassLimits {
  uint32_t rows_max = 0;       // rows of one pass (step_tokens_max)
  uint32_t slots = 0;          // sequences that may exist at once
  uint32_t page_count = 0;     // pages of 64 tokens in the latent cache
  uint32_t positions_max = 0;  // context length
  uint32_t vocab = 0;          // rows of the head
};

// Logit biases of one sample, at most.
inline constexpr uint32_t kPassBiasesMax = 1024;

// In PassSpan::tokens: the token that the pass before drew for this slot and position, which the
// host has not read yet.
inline constexpr int32_t kDrawnToken = -1;

// Consecutive new tokens of one sequence, all of one attention form.
struct PassSpan {
  uint32_t slot = 0;
  AttentionForm form = AttentionForm::kUnabsorbed;
  uint32_t position_begin = 0;
  std::span<const int32_t> tokens;  // ids in [0, vocab) or kDrawnToken
  std::span<const int32_t> pages;   // the sequence's page table, long enough for the last position
  bool last_of_slot =
      true;  // the slot's last span of this pass: its final row becomes the slot's h
};

// One token to draw from the slot's h once the pass has updated it, at `row.position`. The model
// knows the history (all tokens of the slot before row.position); `row.history` stays null.
// `row.biases` and `row.allowed` are read by begin() and need not outlive it.
struct PassSample {
  uint32_t slot = 0;
  SampleRow row;
};

// Spans may be empty when only samples are wanted (the slots' h are known already).
struct PassInput {
  std::span<const PassSpan> spans;      // rows in total <= rows_max; at most rows_max spans
  std::span<const PassSample> samples;  // at most `slots`
  // A budget wants to stop between short segments: each has really happened when run_segment
  // returns. Without it a model may do the whole pass as one segment, and only enqueue it.
  bool in_slices = false;
};

// Called by the step thread only. begin() freezes the input (nothing of it need outlive the call);
// then run_segment(0), (1), ... up to segment_count() - 1 in order, with any pauses. A pass whose
// last segment has run is in flight until wait_results() has returned its results. Up to
// passes_ahead() further passes may be begun and run meanwhile. Starting anew with begin() before
// the last segment abandons a pass: the slots' h change only in the last segment, and cache pages
// at positions beyond what the engine has committed are scratch.
class PassModel {
 public:
  virtual ~PassModel() = default;
  virtual const PassLimits& limits() const = 0;
  // 0: a pass is over, with its results, before the next begins. 1: one may follow unseen.
  virtual uint32_t passes_ahead() const = 0;
  virtual void begin(const PassInput& input) = 0;
  // Of the pass that was begun last.
  virtual uint32_t segment_count() const = 0;
  // Throws what the device throws; the pass is then over.
  virtual void run_segment(uint32_t index) = 0;
  // Waits for the oldest pass in flight and returns its results in the order of its samples, valid
  // until the next call. Throws what the device throws.
  virtual std::span<const SampleResult> wait_results() = 0;
  // Logits [vocab] FP32 that follow the slot's last committed token. No pass is in flight.
  virtual void logits(uint32_t slot, std::span<float> out) = 0;
};

}  // namespace dsv3
