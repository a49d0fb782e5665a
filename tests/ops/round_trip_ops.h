// Lets the conformance tests, which know host memory only, run over an Ops in device memory: every
// call takes its arguments to the device, runs the real op there and brings the results back.
#pragma once

#include <memory>
#include <string>

#include "cuda/cuda_machine.h"
#include "ops/ops.h"

namespace dsv3::ops_test {

// Activations lie on the device in rows of 16 bytes' multiples, NaN between them; results are NaN
// before the op runs. After it, nothing between the rows may have changed.
class RoundTripOps final : public Ops {
 public:
  explicit RoundTripOps(CudaMachine machine) : machine_(std::move(machine)) {}

  std::string description() const override { return machine_.ops->description(); }
  uint64_t scratch_bytes(const OpsLimits& limits) const override {
    return machine_.ops->scratch_bytes(limits);
  }
  void reserve(const OpsLimits& limits) override { machine_.ops->reserve(limits); }
  ActivationQuant activation_quant() const override { return machine_.ops->activation_quant(); }
  bool wants_codes() const override { return machine_.ops->wants_codes(); }

 private:
  void do_take_tokens(const TakeTokensArgs& args) override;
  void do_embed(const EmbedArgs& args) override;
  void do_add_norm(const AddNormArgs& args) override;
  void do_rms_norm(const RmsNormArgs& args) override;
  void do_linear(const LinearArgs& args) override;
  void do_mla_append(const MlaAppendArgs& args) override;
  void do_mla_attend(const MlaAttendArgs& args) override;
  void do_route(const RouteArgs& args) override;
  void do_expert_gate_up(const ExpertGateUpArgs& args) override;
  void do_expert_down(const ExpertDownArgs& args) override;
  void do_expert_combine(const ExpertCombineArgs& args) override;
  void do_swiglu(const SwigluArgs& args) override;
  void do_copy_rows(const CopyRowsArgs& args) override;
  void do_sample(const SampleArgs& args) override;

  Device& device() const { return *machine_.device; }
  Ops& ops() const { return *machine_.ops; }

  CudaMachine machine_;
};

}  // namespace dsv3::ops_test
