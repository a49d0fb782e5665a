// cp.async: 16 bytes from global to shared memory without passing through registers. What a thread
// copied is visible to it after wait, to the block after wait and a barrier.
#pragma once

#include "kernels/common/device_code.h"

#if defined(DSV3_EMULATED)
#  include "emulation/emulated_async_copy.h"
#else

namespace dsv3::kernels {

// Both addresses 16-byte aligned. With `valid` false nothing is read and 16 zero bytes are stored.
__device__ __forceinline__ void async_copy16(void* shared, const void* global, bool valid = true) {
  const auto to = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  const uint32_t bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global), "r"(bytes)
               : "memory");
}

// Closes the group of copies issued by this thread since the last commit.
__device__ __forceinline__ void async_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}

// Waits until at most `kPending` of this thread's groups are unfinished.
template <int kPending>
__device__ __forceinline__ void async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

}  // namespace dsv3::kernels
#endif
