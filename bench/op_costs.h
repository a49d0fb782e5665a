// How many bytes must one call of an op read and how many operations must it do? By its arguments:
// the floor that its time is held against.
#pragma once

#include <span>

#include "formulas.h"
#include "ops/args.h"

namespace dsv3::bench {

// Bytes: weights once (of experts those that some row has), inputs and outputs once. Arrays must be
// host memory. Operations: those of products, as in formulas.h.
Cost op_cost(const EmbedArgs& args);
Cost op_cost(const AddNormArgs& args);
Cost op_cost(const RmsNormArgs& args);
Cost op_cost(const LinearArgs& args);
Cost op_cost(std::span<const LinearArgs> all);
Cost op_cost(const MlaAppendArgs& args);
Cost op_cost(const MlaAttendArgs& args);
Cost op_cost(const RouteArgs& args);
Cost op_cost(const ExpertGateUpArgs& args);
Cost op_cost(const ExpertDownArgs& args);
Cost op_cost(const ExpertCombineArgs& args);
Cost op_cost(const SwigluArgs& args);
Cost op_cost(const CopyRowsArgs& args);
Cost op_cost(const SampleArgs& args);

}  // namespace dsv3::bench
