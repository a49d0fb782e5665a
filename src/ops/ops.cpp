// The public calls of Ops: check, return for zero rows, compute.
#include "ops/ops.h"

#include "ops/ops_checks.h"

namespace dsv3 {

void Ops::take_tokens(const TakeTokensArgs& args) {
  check_take_tokens(args);
  if (args.rows != 0) do_take_tokens(args);
}

void Ops::embed(const EmbedArgs& args) {
  check_embed(args);
  if (args.out.rows != 0) do_embed(args);
}

void Ops::add_norm(const AddNormArgs& args) {
  check_add_norm(args, wants_codes());
  if (args.out.rows != 0) do_add_norm(args);
}

void Ops::rms_norm(const RmsNormArgs& args) {
  check_rms_norm(args);
  if (args.out.rows != 0) do_rms_norm(args);
}

void Ops::linear(const LinearArgs& args) {
  check_linear(args, wants_codes());
  if (args.y.rows != 0) do_linear(args);
}

void Ops::linears(std::span<const LinearArgs> all) {
  check_linears(all, wants_codes());
  if (!all.empty() && all[0].y.rows != 0) do_linears(all);
}

void Ops::do_linears(std::span<const LinearArgs> all) {
  for (const LinearArgs& args : all) do_linear(args);
}

void Ops::mla_append(const MlaAppendArgs& args) {
  check_mla_append(args);
  if (args.batch.rows != 0) do_mla_append(args);
}

void Ops::mla_attend(const MlaAttendArgs& args) {
  check_mla_attend(args);
  if (args.batch.rows != 0) do_mla_attend(args);
}

void Ops::route(const RouteArgs& args) {
  check_route(args);
  if (args.x.rows != 0) do_route(args);
}

void Ops::expert_gate_up(const ExpertGateUpArgs& args) {
  check_expert_gate_up(args, wants_codes(), takes_shared_expert());
  if (args.x.rows != 0) do_expert_gate_up(args);
}

void Ops::expert_down(const ExpertDownArgs& args) {
  check_expert_down(args, takes_shared_expert());
  if (args.hidden.rows != 0) do_expert_down(args);
}

void Ops::expert_combine(const ExpertCombineArgs& args) {
  check_expert_combine(args);
  if (args.out.rows != 0) do_expert_combine(args);
}

void Ops::swiglu(const SwigluArgs& args) {
  check_swiglu(args);
  if (args.out.rows != 0) do_swiglu(args);
}

void Ops::copy_rows(const CopyRowsArgs& args) {
  check_copy_rows(args);
  if (args.count != 0) do_copy_rows(args);
}

void Ops::sample(const SampleArgs& args) {
  check_sample(args);
  if (args.logits.rows != 0) do_sample(args);
}

}  // namespace dsv3
