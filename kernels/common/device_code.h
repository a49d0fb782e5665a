// First include of every .cu: the language of device code, on a GPU or emulated. A kernel may use
// threadIdx, blockIdx, blockDim, gridDim, __syncthreads, __syncwarp, __shfl_*_sync, __ballot_sync,
// __any_sync, __all_sync, atomicAdd/Max/CAS, __popc, __ffs, __float_as_uint and back, the math
// functions of C (expf, rsqrtf, …) and what kernels/common offers; not <<<>>>, __shared__, inline
// assembly, cooperative groups. A new instruction gets a wrapper in kernels/common and an emulated
// twin in tests/emulation.
#pragma once

#include <cstdint>

#if defined(DSV3_EMULATED)
#  include "emulation/emulated_device.h"
#else

namespace dsv3::kernels {

// The block's arena of shared memory (Launch::shared_bytes) as a T. Its contents are undefined.
template <typename T>
__device__ __forceinline__ T& shared_memory() {
  extern __shared__ __align__(128) unsigned char dsv3_shared_bytes[];
  return *reinterpret_cast<T*>(dsv3_shared_bytes);
}

}  // namespace dsv3::kernels
#endif

#include "kernels/common/kernel_types.h"
#include "kernels/common/launch.h"
