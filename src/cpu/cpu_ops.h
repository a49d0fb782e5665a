// CpuOps: every op on the CPU, with vector functions of the best instruction set chosen once.
#pragma once

#include <memory>
#include <string>

#include "base/allocator.h"
#include "base/thread_pool.h"
#include "ops/ops.h"

namespace dsv3 {

// Ordered: a higher level needs everything below it.
enum class CpuLevel : uint8_t { kScalar = 0, kAvx2 = 1, kAvx512Bf16 = 2 };

const char* cpu_level_name(CpuLevel level);
// Whether this library has functions of that level, on whatever processor it runs.
bool cpu_level_is_built(CpuLevel level);
// The best level this processor (and operating system) can run.
CpuLevel cpu_level_best();

// `pool` and `allocator` outlive the result. `level` must not exceed cpu_level_best().
std::unique_ptr<Ops> make_cpu_ops(ThreadPool& pool, Allocator& allocator, CpuLevel level,
                                  ActivationQuant quant = ActivationQuant::kNone);

}  // namespace dsv3
