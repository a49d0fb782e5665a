// The vocabulary both devices speak: public calls that check their arguments, private virtual do_*
// functions that compute. A missing op does not compile.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "ops/args.h"

namespace dsv3 {

// The largest shapes a context will ask for; scratch memory is sized from it once, at load.
struct OpsLimits {
  uint32_t rows_max = 0;          // T: rows of one pass
  uint32_t sample_rows_max = 0;   // R: rows sampled in one pass
  uint32_t positions_max = 0;     // context length
  uint32_t linear_in_max = 0;     // widest input of any linear
  uint32_t expert_rows_max = 0;   // rows_max * K
  uint32_t experts_max = 0;       // E
  uint32_t vocab = 0;             // V
  uint32_t expert_width_max = 0;  // M
  DType act = DType::kBF16;
  MlaShape mla;
};

// One Ops belongs to one context and is called by one thread at a time. No call allocates after
// reserve(). Every result element is computed by a sequence of operations that depends only on its
// own row (STRICT, design §1.5): not on the number of rows, the split into passes, or the thread
// count.
class Ops {
 public:
  virtual ~Ops() = default;

  // What computes, for context_info: "cpu avx512-bf16, 2 threads".
  virtual std::string description() const = 0;
  // Scratch bytes that reserve() will take for these limits.
  virtual uint64_t scratch_bytes(const OpsLimits& limits) const = 0;
  // Takes the scratch memory. OUT_OF_MEMORY or LIMIT leave the Ops as it was.
  virtual void reserve(const OpsLimits& limits) = 0;

  // How linears with FP8 weights multiply.
  virtual ActivationQuant activation_quant() const = 0;
  // True when such linears read codes that add_norm has written rather than quantise again.
  virtual bool wants_codes() const = 0;
  // True when expert_gate_up and expert_down can do the shared expert beside the routed ones.
  virtual bool takes_shared_expert() const { return false; }

  // Each checks device, dtype, shape, layout and limits in this order (INTERNAL naming op and
  // argument: the model, not the user, builds these arguments), returns at once for zero rows, then
  // computes. The formulas stand at the argument structs.
  void take_tokens(const TakeTokensArgs& args);
  void embed(const EmbedArgs& args);
  void add_norm(const AddNormArgs& args);
  void rms_norm(const RmsNormArgs& args);
  void linear(const LinearArgs& args);
  // Linears of equally many rows, none of which reads what another writes: the same results as one
  // after the other.
  void linears(std::span<const LinearArgs> all);
  void mla_append(const MlaAppendArgs& args);
  void mla_attend(const MlaAttendArgs& args);
  void route(const RouteArgs& args);
  void expert_gate_up(const ExpertGateUpArgs& args);
  void expert_down(const ExpertDownArgs& args);
  void expert_combine(const ExpertCombineArgs& args);
  void swiglu(const SwigluArgs& args);
  void copy_rows(const CopyRowsArgs& args);
  void sample(const SampleArgs& args);

 private:
  virtual void do_take_tokens(const TakeTokensArgs& args) = 0;
  virtual void do_embed(const EmbedArgs& args) = 0;
  virtual void do_add_norm(const AddNormArgs& args) = 0;
  virtual void do_rms_norm(const RmsNormArgs& args) = 0;
  virtual void do_linear(const LinearArgs& args) = 0;
  virtual void do_linears(std::span<const LinearArgs> all);
  virtual void do_mla_append(const MlaAppendArgs& args) = 0;
  virtual void do_mla_attend(const MlaAttendArgs& args) = 0;
  virtual void do_route(const RouteArgs& args) = 0;
  virtual void do_expert_gate_up(const ExpertGateUpArgs& args) = 0;
  virtual void do_expert_down(const ExpertDownArgs& args) = 0;
  virtual void do_expert_combine(const ExpertCombineArgs& args) = 0;
  virtual void do_swiglu(const SwigluArgs& args) = 0;
  virtual void do_copy_rows(const CopyRowsArgs& args) = 0;
  virtual void do_sample(const SampleArgs& args) = 0;
};

}  // namespace dsv3
