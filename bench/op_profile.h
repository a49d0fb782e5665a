// What does each op of a pass take, in the pass and alone? One case of a model, by an Ops that
// keeps time.
#pragma once

#include "bench.h"
#include "ceilings.h"
#include "model_facts.h"
#include "op_times.h"

namespace dsv3::bench {

// `meter` is of as many threads as the case. CPU only.
OpProfile profile_ops(const Options& options, const ModelFacts& facts, const ModelCase& asked,
                      CeilingMeter& meter);

}  // namespace dsv3::bench
