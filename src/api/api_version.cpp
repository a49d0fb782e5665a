// Which library is this?
#include <cstdio>

#include "api/api_build.h"
#include "cuda/cuda_machine.h"
#include "dsv3.h"

namespace {

// Which CUDA is behind the door of src/cuda is known to the linker only.
struct BuildText {
  BuildText() noexcept {
    std::snprintf(text, sizeof(text), "%s%s", DSV3_BUILD_TEXT, dsv3::cuda_build_text());
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
