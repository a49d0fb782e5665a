// The emulated twin of kernels/common/matrix_load.h. Lanes tell each other their addresses, then
// each reads its own elements, so sanitizers see who reads what. It orders no memory, as on a GPU.
#pragma once

#include <cstdint>
#include <cstring>

#include "emulation/emulated_block.h"

namespace dsv3::kernels {

// A lane's rows: of matrix i / 2, numbers `rows[i % 2]`.
struct MatrixRows {
  const unsigned char* at[8];
};

inline MatrixRows matrix_rows(const void* row, const uint32_t (&numbers)[2]) {
  if (reinterpret_cast<uintptr_t>(row) % 16 != 0) {
    emulated::fault("ldmatrix from %p: wanted an address aligned to 16 bytes", row);
  }
  uint32_t sources[8];
  for (uint32_t i = 0; i < 8; ++i) sources[i] = i / 2 * 8 + numbers[i % 2];
  uint64_t addresses[8];
  emulated::warp_exchange(reinterpret_cast<uintptr_t>(row), sources, addresses);
  MatrixRows rows;
  for (uint32_t i = 0; i < 8; ++i) {
    rows.at[i] = reinterpret_cast<const unsigned char*>(static_cast<uintptr_t>(addresses[i]));
  }
  return rows;
}

inline void load_matrices(uint32_t (&out)[4], const void* row) {
  const uint32_t lane = threadIdx.x % 32;
  const MatrixRows rows = matrix_rows(row, {lane / 4, lane / 4});
  for (uint32_t m = 0; m < 4; ++m) std::memcpy(&out[m], rows.at[2 * m] + lane % 4 * 4, 4);
}

inline void load_matrices_transposed(uint32_t (&out)[4], const void* row) {
  const uint32_t lane = threadIdx.x % 32;
  const MatrixRows rows = matrix_rows(row, {lane % 4 * 2, lane % 4 * 2 + 1});
  for (uint32_t m = 0; m < 4; ++m) {
    uint16_t low = 0;
    uint16_t high = 0;
    std::memcpy(&low, rows.at[2 * m] + lane / 4 * 2, 2);
    std::memcpy(&high, rows.at[2 * m + 1] + lane / 4 * 2, 2);
    out[m] = static_cast<uint32_t>(high) << 16 | low;
  }
}

}  // namespace dsv3::kernels
