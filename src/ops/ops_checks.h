// Are the arguments of an operation sound? All that can be told without reading device memory.
#pragma once

#include <span>

#include "ops/args.h"

namespace dsv3 {

// Each throws Error{INTERNAL} naming operation, argument, what was found and what was wanted; the
// order is device (pointers), dtype, shape, layout. Rows without elements need no pointer.
// `wants_codes`: whether the Ops takes rows quantised beforehand; `takes_shared`: whether its
// expert operations take the shared expert, too.
void check_take_tokens(const TakeTokensArgs& args);
void check_embed(const EmbedArgs& args);
void check_add_norm(const AddNormArgs& args, bool wants_codes);
void check_rms_norm(const RmsNormArgs& args);
void check_linear(const LinearArgs& args, bool wants_codes);
void check_linears(std::span<const LinearArgs> all, bool wants_codes);
void check_mla_append(const MlaAppendArgs& args);
void check_mla_attend(const MlaAttendArgs& args);
void check_route(const RouteArgs& args);
void check_expert_gate_up(const ExpertGateUpArgs& args, bool wants_codes, bool takes_shared);
void check_expert_down(const ExpertDownArgs& args, bool takes_shared);
void check_expert_combine(const ExpertCombineArgs& args);
void check_swiglu(const SwigluArgs& args);
void check_copy_rows(const CopyRowsArgs& args);
void check_sample(const SampleArgs& args);

// For devices whose host can read the expert table: each of its weights is what the views ask for.
void check_experts(const ExpertGateUpArgs& args);
void check_experts(const ExpertDownArgs& args);

}  // namespace dsv3
