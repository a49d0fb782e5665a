#include "library.h"

#include <dlfcn.h>

#include "base/error.h"

namespace dsv3::bench {
namespace {

template <class Function>
void find(void* handle, const char* name, Function* out) {
  *out = reinterpret_cast<Function>(dlsym(handle, name));
  if (*out == nullptr) fail(Status::kUnsupported, "the library has no ", name);
}

}  // namespace

Library linked_library() {
  return {.name = "this build",
          .handle = nullptr,
          .build_info = dsv3_build_info,
          .status_name = dsv3_status_name,
          .context_options_init = dsv3_context_options_init,
          .context_create = dsv3_context_create,
          .context_destroy = dsv3_context_destroy,
          .context_load = dsv3_context_load,
          .context_error = dsv3_context_error,
          .context_info = dsv3_context_info,
          .sequence_create = dsv3_sequence_create,
          .sequence_destroy = dsv3_sequence_destroy,
          .sequence_append_tokens = dsv3_sequence_append_tokens,
          .generate_options_init = dsv3_generate_options_init,
          .sequence_generate = dsv3_sequence_generate,
          .step = dsv3_step};
}

Library open_library(const std::string& path) {
  void* const handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) fail(Status::kUnsupported, path, ": ", dlerror());
  Library library{.name = path, .handle = std::shared_ptr<void>(handle, dlclose)};
  find(handle, "dsv3_build_info", &library.build_info);
  find(handle, "dsv3_status_name", &library.status_name);
  find(handle, "dsv3_context_options_init", &library.context_options_init);
  find(handle, "dsv3_context_create", &library.context_create);
  find(handle, "dsv3_context_destroy", &library.context_destroy);
  find(handle, "dsv3_context_load", &library.context_load);
  find(handle, "dsv3_context_error", &library.context_error);
  find(handle, "dsv3_context_info", &library.context_info);
  find(handle, "dsv3_sequence_create", &library.sequence_create);
  find(handle, "dsv3_sequence_destroy", &library.sequence_destroy);
  find(handle, "dsv3_sequence_append_tokens", &library.sequence_append_tokens);
  find(handle, "dsv3_generate_options_init", &library.generate_options_init);
  find(handle, "dsv3_sequence_generate", &library.sequence_generate);
  find(handle, "dsv3_step", &library.step);
  return library;
}

}  // namespace dsv3::bench
