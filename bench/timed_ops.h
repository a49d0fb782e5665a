// Where does the time of a pass go? An Ops that hands every call to another one and looks at the
// clock before and after.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "formulas.h"
#include "ops/ops.h"

namespace dsv3::bench {

// One call that was made.
struct OpCall {
  std::string name;  // "linear head", "mla_attend"
  double seconds = 0.0;
  Cost cost;
  std::function<void()> again;  // the same call; its buffers hold what later calls have left there
};

class TimedOps final : public Ops {
 public:
  // `inner` computes in host memory and outlives this.
  explicit TimedOps(Ops& inner) : inner_(inner) {}

  // Names for weights, by their data: linears are told apart by them.
  void name_weight(const Weight& weight, const std::string& name);
  // The calls since the last take, in order.
  std::vector<OpCall> take();
  // Off: calls are handed on and forgotten.
  void set_recording(bool is_on) { is_recording_ = is_on; }

  std::string description() const override { return inner_.description(); }
  uint64_t scratch_bytes(const OpsLimits& limits) const override {
    return inner_.scratch_bytes(limits);
  }
  void reserve(const OpsLimits& limits) override { inner_.reserve(limits); }
  ActivationQuant activation_quant() const override { return inner_.activation_quant(); }
  bool wants_codes() const override { return inner_.wants_codes(); }
  bool takes_shared_expert() const override { return inner_.takes_shared_expert(); }

 private:
  void do_take_tokens(const TakeTokensArgs& args) override;
  void do_embed(const EmbedArgs& args) override;
  void do_add_norm(const AddNormArgs& args) override;
  void do_rms_norm(const RmsNormArgs& args) override;
  void do_linear(const LinearArgs& args) override;
  void do_linears(std::span<const LinearArgs> all) override;
  void do_mla_append(const MlaAppendArgs& args) override;
  void do_mla_attend(const MlaAttendArgs& args) override;
  void do_route(const RouteArgs& args) override;
  void do_expert_gate_up(const ExpertGateUpArgs& args) override;
  void do_expert_down(const ExpertDownArgs& args) override;
  void do_expert_combine(const ExpertCombineArgs& args) override;
  void do_swiglu(const SwigluArgs& args) override;
  void do_copy_rows(const CopyRowsArgs& args) override;
  void do_sample(const SampleArgs& args) override;

  template <class Call, class CostOf>
  void timed(const std::string& name, const Call& call, const CostOf& cost_of);
  template <class Args, class Call>
  void timed_experts(std::string name, const Args& args, const Call& call);
  std::string weight_name(const Weight& weight) const;

  Ops& inner_;
  bool is_recording_ = false;
  std::map<const void*, std::string> names_;
  std::vector<OpCall> calls_;
};

}  // namespace dsv3::bench
