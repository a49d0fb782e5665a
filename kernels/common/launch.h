// How every kernel is started: launch(kernel, where, arguments…), never <<<>>>, so that the same
// source runs on a GPU and, in tests, as plain C++ (tests/emulation).
#pragma once

#include <cstdint>

namespace dsv3::gpu {
struct Stream;  // a cudaStream_t, or the emulator's
}

namespace dsv3::kernels {

struct Grid {
  uint32_t x = 1;
  uint32_t y = 1;
  uint32_t z = 1;
};

struct Launch {
  Grid blocks;
  uint32_t threads = 128;     // per block; a multiple of 32
  uint32_t shared_bytes = 0;  // of the block's arena, shared_memory<T>()
  gpu::Stream* stream = nullptr;
};

}  // namespace dsv3::kernels

#if defined(DSV3_EMULATED)
#  include "emulation/emulated_launch.h"
#elif defined(__CUDACC__)

namespace dsv3::kernels {

// Allows blocks of the kernel all the shared memory that the thread's device has for one. Not what
// one launch needs: the allowance belongs to the kernel, and another thread may be about to launch
// it with more.
inline cudaError_t allow_shared_memory(const void* kernel) {
  int device = 0;
  int bytes = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess) {
    error = cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  }
  if (error != cudaSuccess) return error;
  return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
}

// 0, or the runtime's error code. Asks for more than 48 KiB of shared memory where needed. The
// launch's own answer counts, not cudaGetLastError's: that may be an older one of the host's.
template <typename... Params, typename... Args>
int launch(void (*kernel)(Params...), const Launch& where, const Args&... args) {
  const auto* const function = reinterpret_cast<const void*>(kernel);
  cudaError_t error = cudaSuccess;
  if (where.shared_bytes > 48 * 1024) error = allow_shared_memory(function);
  if (error == cudaSuccess) {
    const auto start = [&](Params... params) {
      void* pointers[] = {static_cast<void*>(&params)...};
      return cudaLaunchKernel(function, dim3(where.blocks.x, where.blocks.y, where.blocks.z),
                              dim3(where.threads), pointers, where.shared_bytes,
                              reinterpret_cast<cudaStream_t>(where.stream));
    };
    error = start(static_cast<Params>(args)...);
  }
  if (error != cudaSuccess) static_cast<void>(cudaGetLastError());  // no caller finds it later
  return static_cast<int>(error);
}

// Brings the code of the kernels to the thread's device, which CUDA would else do at the first
// launch: then it costs time and memory that nobody planned for. 0, or the runtime's error code.
template <typename... Kernels>
int load(Kernels*... kernels) {
  cudaFuncAttributes unused;
  cudaError_t error = cudaSuccess;
  const void* const all[] = {reinterpret_cast<const void*>(kernels)...};
  for (const void* const kernel : all) {
    if (error == cudaSuccess) error = cudaFuncGetAttributes(&unused, kernel);
  }
  if (error != cudaSuccess) static_cast<void>(cudaGetLastError());
  return static_cast<int>(error);
}

}  // namespace dsv3::kernels
#endif
