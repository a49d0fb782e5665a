#include "timed_ops.h"

#include <utility>

#include "base/error.h"
#include "bench_clock.h"
#include "op_costs.h"

namespace dsv3::bench {

void TimedOps::name_weight(const Weight& weight, const std::string& name) {
  if (weight.present()) names_[weight.data] = name;
}

std::string TimedOps::weight_name(const Weight& weight) const {
  const auto found = names_.find(weight.data);
  return found != names_.end() ? found->second : str(weight.rows, "x", weight.cols);
}

std::vector<OpCall> TimedOps::take() { return std::exchange(calls_, {}); }

// The cost is computed after the call: it reads what the call may have written.
template <class Call, class CostOf>
void TimedOps::timed(const std::string& name, const Call& call, const CostOf& cost_of) {
  if (!is_recording_) {
    call();
    return;
  }
  const double begin = now();
  call();
  const double seconds = now() - begin;
  calls_.push_back({.name = name, .seconds = seconds, .cost = cost_of(), .again = call});
}

void TimedOps::do_take_tokens(const TakeTokensArgs& args) {
  timed(
      "take_tokens", [this, args] { inner_.take_tokens(args); },
      [&] { return Cost{.bytes = 12.0 * args.rows}; });
}
void TimedOps::do_embed(const EmbedArgs& args) {
  timed(
      "embed", [this, args] { inner_.embed(args); }, [&] { return op_cost(args); });
}
void TimedOps::do_add_norm(const AddNormArgs& args) {
  timed(
      "add_norm", [this, args] { inner_.add_norm(args); }, [&] { return op_cost(args); });
}
void TimedOps::do_rms_norm(const RmsNormArgs& args) {
  timed(
      "rms_norm", [this, args] { inner_.rms_norm(args); }, [&] { return op_cost(args); });
}
void TimedOps::do_linear(const LinearArgs& args) {
  timed(
      "linear " + weight_name(args.weight), [this, args] { inner_.linear(args); },
      [&] { return op_cost(args); });
}
void TimedOps::do_linears(std::span<const LinearArgs> all) {
  const std::vector<LinearArgs> kept(all.begin(), all.end());
  std::string name = "linears";
  for (const LinearArgs& args : kept) {
    name += (name == "linears" ? " " : " + ") + weight_name(args.weight);
  }
  timed(
      name, [this, kept] { inner_.linears(kept); }, [&] { return op_cost(all); });
}
void TimedOps::do_mla_append(const MlaAppendArgs& args) {
  timed(
      "mla_append", [this, args] { inner_.mla_append(args); }, [&] { return op_cost(args); });
}
void TimedOps::do_mla_attend(const MlaAttendArgs& args) {
  timed(
      "mla_attend", [this, args] { inner_.mla_attend(args); }, [&] { return op_cost(args); });
}
void TimedOps::do_route(const RouteArgs& args) {
  timed(
      "route", [this, args] { inner_.route(args); }, [&] { return op_cost(args); });
}
// The shared expert's weights are the caller's for the length of the call: `again` has its own
// copy.
template <class Args, class Call>
void TimedOps::timed_experts(std::string name, const Args& args, const Call& call) {
  const bool has_shared = args.shared != nullptr;
  if (has_shared) name += " + shared";
  const ExpertWeights shared = has_shared ? *args.shared : ExpertWeights();
  timed(
      name,
      [args, call, has_shared, shared] {
        Args own = args;
        own.shared = has_shared ? &shared : nullptr;
        call(own);
      },
      [&] { return op_cost(args); });
}
void TimedOps::do_expert_gate_up(const ExpertGateUpArgs& args) {
  timed_experts("expert_gate_up", args,
                [this](const ExpertGateUpArgs& own) { inner_.expert_gate_up(own); });
}
void TimedOps::do_expert_down(const ExpertDownArgs& args) {
  timed_experts("expert_down", args,
                [this](const ExpertDownArgs& own) { inner_.expert_down(own); });
}
void TimedOps::do_expert_combine(const ExpertCombineArgs& args) {
  timed(
      "expert_combine", [this, args] { inner_.expert_combine(args); },
      [&] { return op_cost(args); });
}
void TimedOps::do_swiglu(const SwigluArgs& args) {
  timed(
      "swiglu", [this, args] { inner_.swiglu(args); }, [&] { return op_cost(args); });
}
void TimedOps::do_copy_rows(const CopyRowsArgs& args) {
  timed(
      "copy_rows", [this, args] { inner_.copy_rows(args); }, [&] { return op_cost(args); });
}
void TimedOps::do_sample(const SampleArgs& args) {
  timed(
      "sample", [this, args] { inner_.sample(args); }, [&] { return op_cost(args); });
}

}  // namespace dsv3::bench
