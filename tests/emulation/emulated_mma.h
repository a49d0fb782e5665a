// The emulated twins of kernels/common/mma.h.
#pragma once

#include <cstdint>

namespace dsv3::kernels {

void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
void mma_e4m3(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);

}  // namespace dsv3::kernels
