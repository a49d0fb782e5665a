// How is one case run in a session? What a session needs for it, what comes before, what is timed.
#pragma once

#include <span>
#include <vector>

#include "bench.h"
#include "cpu/cpu_ops.h"
#include "model_facts.h"
#include "session.h"

namespace dsv3::bench {

uint32_t threads_of(const Options& options, const ModelCase& asked);

// The level that cpu_level (DSV3_CPU_LEVEL_*) gives on this machine.
CpuLevel level_of(int32_t cpu_level);

// The cases (default_cases if none are asked for) that fit the model, in groups of equal threads
// and cache: one session each.
std::vector<std::vector<ModelCase>> case_groups(const Options& options, const ModelFacts& facts);

// A session that has room for all of a group.
SessionOptions session_options(const Options& options, const ModelFacts& facts,
                               std::span<const ModelCase> group);

// Touches what a first pass would find cold: mapped weights, caches, threads.
void warm_up(Session& session, const ModelFacts& facts);

// Once a case, untimed: for decode the sequences, their context and a few steps.
void prepare_case(Session& session, const ModelCase& asked);

// One run: seconds of the prompt, or of asked.tokens steps, which `steps` gets one by one. A
// prefill makes its sequences and their context anew, untimed.
double time_case(Session& session, const ModelCase& asked, std::vector<double>* steps);

}  // namespace dsv3::bench
