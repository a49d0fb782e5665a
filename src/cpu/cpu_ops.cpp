// Which instruction set, how many threads, how much scratch: what CpuOps is before it computes.
#include "cpu/cpu_ops.h"

#include <utility>

#include "base/error.h"
#include "cpu/cpu_ops_impl.h"

namespace dsv3 {
namespace {

bool processor_has_avx2() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("f16c");
#else
  return false;
#endif
}

bool processor_has_avx512() {
#if defined(__x86_64__)
  return processor_has_avx2() && __builtin_cpu_supports("avx512f") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bf16");
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

CpuLevel cpu_level_best() {
  if (processor_has_avx512()) return CpuLevel::kAvx512Bf16;
  return processor_has_avx2() ? CpuLevel::kAvx2 : CpuLevel::kScalar;
}

std::unique_ptr<Ops> make_cpu_ops(ThreadPool& pool, Allocator& allocator, CpuLevel level) {
  const CpuKernels* kernels = level <= cpu_level_best() ? kernels_of(level) : nullptr;
  if (kernels == nullptr) {
    fail(Status::kUnsupported, "cpu level ", cpu_level_name(level),
         " asked for, this processor runs ", cpu_level_name(cpu_level_best()));
  }
  return std::make_unique<CpuOps>(pool, allocator, *kernels);
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
