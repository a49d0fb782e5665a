// cp.async, truly late: a copy is made when it is waited for, so a kernel that reads too early
// finds the arena's NaN. Made here, in the kernel's own object, where sanitizers watch the
// accesses.
#pragma once

#include <cstdint>

#include "emulation/emulated_block.h"

namespace dsv3::kernels {

inline void async_copy16(void* shared, const void* global, bool valid = true) {
  // The address of what is not read must be aligned all the same.
  if (((reinterpret_cast<uintptr_t>(shared) | reinterpret_cast<uintptr_t>(global)) & 15u) != 0) {
    emulated::fault("cp.async to %p from %p: wanted addresses aligned to 16 bytes", shared, global);
  }
  if (valid && global == nullptr) emulated::fault("cp.async from a null address");
  emulated::async_push({shared, valid ? global : nullptr});
}

inline void async_commit() { emulated::async_close_group(); }

template <int kPending>
inline void async_wait() {
  static_assert(kPending >= 0 && kPending <= 7);
  emulated::AsyncCopy copy;
  while (emulated::async_pop(kPending, &copy)) {
    auto* const to = static_cast<uint64_t*>(copy.shared);
    const auto* const from = static_cast<const uint64_t*>(copy.global);
    to[0] = from == nullptr ? 0 : from[0];
    to[1] = from == nullptr ? 0 : from[1];
  }
}

}  // namespace dsv3::kernels
