// Which library is this?
#include <cstdio>
#include <cstring>

#include "api/api_build.h"
#include "cpu/cpu_ops.h"
#include "cuda/cuda_machine.h"
#include "dsv3.h"

namespace {

// Which CUDA is behind the door of src/cuda, and which levels src/cpu has, is known to the linker
// only.
struct BuildText {
  BuildText() noexcept {
    using dsv3::CpuLevel;
    append(DSV3_BUILD_TEXT);
    append(dsv3::cuda_build_text());
    append(", cpu levels:");
    for (const CpuLevel level : {CpuLevel::kScalar, CpuLevel::kAvx2, CpuLevel::kAvx512Bf16}) {
      if (!dsv3::cpu_level_is_built(level)) continue;
      append(" ");
      append(dsv3::cpu_level_name(level));
    }
  }

  void append(const char* more) noexcept {
    const size_t used = std::strlen(text);
    std::snprintf(text + used, sizeof(text) - used, "%s", more);
  }

  char text[256] = {};
};

}  // namespace

int32_t dsv3_version(void) { return DSV3_VERSION; }

const char* dsv3_build_info(void) {
  static const BuildText build;
  return build.text;
}

const char* dsv3_status_name(dsv3_status status) {
  switch (status) {
    case DSV3_OK:
      return "OK";
    case DSV3_INVALID_ARGUMENT:
      return "INVALID_ARGUMENT";
    case DSV3_INVALID_MODEL:
      return "INVALID_MODEL";
    case DSV3_UNSUPPORTED:
      return "UNSUPPORTED";
    case DSV3_OUT_OF_MEMORY:
      return "OUT_OF_MEMORY";
    case DSV3_LIMIT:
      return "LIMIT";
    case DSV3_BUSY:
      return "BUSY";
    case DSV3_CANCELLED:
      return "CANCELLED";
    case DSV3_TIMEOUT:
      return "TIMEOUT";
    case DSV3_IO:
      return "IO";
    case DSV3_DEVICE_LOST:
      return "DEVICE_LOST";
    case DSV3_FAULTED:
      return "FAULTED";
    case DSV3_INTERNAL:
      return "INTERNAL";
    default:
      return "UNKNOWN";
  }
}
