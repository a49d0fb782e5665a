// launch() of kernels/common/launch.h, emulated: the same checks as a GPU makes, arguments copied.
#pragma once

#include <cstddef>
#include <tuple>
#include <type_traits>

#include "kernels/common/launch.h"

namespace dsv3::emulated {

// A kernel with its arguments; the bytes at `arguments` are copied.
struct KernelCall {
  void (*thread)(const void* arguments);  // runs one CUDA thread
  const void* arguments;
  size_t bytes;
  const char* file;    // of the kernel's source, for messages
  const char* params;  // signature of the launch, which shows the kernel's parameters
};

// 0 or an error; the kernel runs when its stream does.
int enqueue_kernel(const kernels::Launch& where, const KernelCall& call);

inline constexpr size_t kParameterBytesMax = 4096;  // of a kernel

}  // namespace dsv3::emulated

namespace dsv3::kernels {

// Static, so that __BASE_FILE__ is this object's.
template <typename... Params, typename... Args>
static int launch(void (*kernel)(Params...), const Launch& where, const Args&... args) {
  static_assert(sizeof...(Params) == sizeof...(Args));
  static_assert((std::is_trivially_copyable_v<Params> && ...),
                "the parameters of a kernel are copied as bytes");
  static_assert((size_t{0} + ... + sizeof(Params)) <= emulated::kParameterBytesMax);
  struct Call {
    void (*kernel)(Params...);
    std::tuple<Params...> arguments;
    static void run_thread(const void* self) {
      const auto& call = *static_cast<const Call*>(self);
      std::apply(call.kernel, call.arguments);
    }
  };
  const Call call = {kernel, {static_cast<Params>(args)...}};
  return emulated::enqueue_kernel(
      where, {&Call::run_thread, &call, sizeof(call), __BASE_FILE__, __PRETTY_FUNCTION__});
}

// Nothing is to be loaded: the kernels are part of the program.
template <typename... Kernels>
static int load(Kernels*... /*kernels*/) {
  return 0;
}

}  // namespace dsv3::kernels
