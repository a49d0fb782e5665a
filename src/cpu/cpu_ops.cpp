// Which instruction set, how many threads, how much scratch: what CpuOps is before it computes.
#include "cpu/cpu_ops.h"

#include <utility>

#if defined(__x86_64__)
#  include <cpuid.h>
#endif

#include "base/error.h"
#include "cpu/cpu_ops_impl.h"

namespace dsv3 {
namespace {

#if defined(__x86_64__)
// __builtin_cpu_supports does not know F16C in every compiler.
bool processor_has_f16c() {
  uint32_t eax = 0;
  uint32_t ebx = 0;
  uint32_t ecx = 0;
  uint32_t edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}
#endif

bool processor_has_avx2() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && processor_has_f16c();
#else
  return false;
#endif
}

bool processor_has_avx512() {
#if defined(__x86_64__)
  return processor_has_avx2() && __builtin_cpu_supports("avx512f") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vbmi") &&
         __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

const CpuKernels* kernels_of(CpuLevel level) {
  switch (level) {
    case CpuLevel::kScalar:
      return cpu_kernels_scalar();
    case CpuLevel::kAvx2:
      return cpu_kernels_avx2();
    case CpuLevel::kAvx512Bf16:
      return cpu_kernels_avx512();
  }
  return nullptr;
}

}  // namespace

const char* cpu_level_name(CpuLevel level) {
  switch (level) {
    case CpuLevel::kScalar:
      return "scalar";
    case CpuLevel::kAvx2:
      return "avx2";
    case CpuLevel::kAvx512Bf16:
      return "avx512-bf16";
  }
  return "unknown";
}

bool cpu_level_is_built(CpuLevel level) { return kernels_of(level) != nullptr; }

CpuLevel cpu_level_best() {
  if (processor_has_avx512()) return CpuLevel::kAvx512Bf16;
  return processor_has_avx2() ? CpuLevel::kAvx2 : CpuLevel::kScalar;
}

std::unique_ptr<Ops> make_cpu_ops(ThreadPool& pool, Allocator& allocator, CpuLevel level,
                                  ActivationQuant quant) {
  const CpuKernels* kernels = level <= cpu_level_best() ? kernels_of(level) : nullptr;
  if (kernels == nullptr) {
    fail(Status::kUnsupported, "cpu level ", cpu_level_name(level),
         " asked for, this processor runs ", cpu_level_name(cpu_level_best()));
  }
  return std::make_unique<CpuOps>(pool, allocator, *kernels, quant);
}

std::string CpuOps::description() const {
  const uint32_t workers = pool_.workers();
  return str("cpu ", cpu_level_name(kernels_.level), ", ", workers,
             workers == 1 ? " thread" : " threads");
}

uint64_t CpuOps::scratch_bytes(const OpsLimits& limits) const {
  return cpu_scratch_bytes(limits, pool_.workers());
}

void CpuOps::reserve(const OpsLimits& limits) {
  scratch_ = make_cpu_scratch(allocator_, limits, pool_.workers());
}

}  // namespace dsv3
