#include "failing_malloc.h"

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <new>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#  define DSV3_TEST_SANITIZED 1
#endif

namespace dsv3_test {
namespace {

thread_local bool active = false;
thread_local bool failed = false;
thread_local bool forever = false;
thread_local uint64_t left = 0;
thread_local int64_t blocks = 0;

bool fails_now() {
  if (!active) return false;
  if (left > 0) {
    --left;
    return false;
  }
  if (failed && !forever) return false;
  failed = true;
  errno = ENOMEM;
  return true;
}

}  // namespace

FailingMalloc::FailingMalloc(uint64_t first, bool persistent) {
  failed = false;
  forever = persistent;
  left = first;
  active = true;
}

FailingMalloc::~FailingMalloc() { active = false; }

bool FailingMalloc::has_failed() { return failed; }

int64_t blocks_of_this_thread() { return blocks; }

}  // namespace dsv3_test

#ifndef DSV3_TEST_SANITIZED

// The program's malloc comes before the C library's; the real one is glibc's own name for it.
extern "C" {
void* __libc_malloc(size_t bytes);                      // NOLINT
void* __libc_calloc(size_t count, size_t bytes);        // NOLINT
void* __libc_realloc(void* block, size_t bytes);        // NOLINT
void* __libc_memalign(size_t alignment, size_t bytes);  // NOLINT
void __libc_free(void* block);                          // NOLINT

static void* counted(void* block) {
  if (block != nullptr) ++dsv3_test::blocks;
  return block;
}

void* malloc(size_t bytes) {
  if (dsv3_test::fails_now()) return nullptr;
  return counted(__libc_malloc(bytes));
}
void* calloc(size_t count, size_t bytes) {
  if (dsv3_test::fails_now()) return nullptr;
  return counted(__libc_calloc(count, bytes));
}
void* realloc(void* block, size_t bytes) {
  if (dsv3_test::fails_now()) return nullptr;
  void* const out = __libc_realloc(block, bytes);
  if (block == nullptr && out != nullptr) ++dsv3_test::blocks;
  return out;
}
void* memalign(size_t alignment, size_t bytes) {
  if (dsv3_test::fails_now()) return nullptr;
  return counted(__libc_memalign(alignment, bytes));
}
void* aligned_alloc(size_t alignment, size_t bytes) { return memalign(alignment, bytes); }
int posix_memalign(void** out, size_t alignment, size_t bytes) {
  *out = memalign(alignment, bytes);
  return *out == nullptr ? ENOMEM : 0;
}
void free(void* block) {
  if (block != nullptr) --dsv3_test::blocks;
  __libc_free(block);
}
}

#else

// Sanitizers own malloc; operator new is shared with the library there and fails instead. All
// forms, so that each block is freed by its own kind.
static void* take(size_t bytes) {
  return dsv3_test::fails_now() ? nullptr : std::malloc(bytes == 0 ? 1 : bytes);
}

void* operator new(size_t bytes) {
  void* const block = take(bytes);
  if (block == nullptr) throw std::bad_alloc();
  return block;
}
void* operator new[](size_t bytes) { return operator new(bytes); }
void* operator new(size_t bytes, const std::nothrow_t&) noexcept { return take(bytes); }
void* operator new[](size_t bytes, const std::nothrow_t&) noexcept { return take(bytes); }
void* operator new(size_t bytes, std::align_val_t alignment) {
  if (dsv3_test::fails_now()) throw std::bad_alloc();
  const auto unit = static_cast<size_t>(alignment);
  void* const block = std::aligned_alloc(unit, (bytes + unit - 1) / unit * unit);
  if (block == nullptr) throw std::bad_alloc();
  return block;
}
void* operator new[](size_t bytes, std::align_val_t alignment) {
  return operator new(bytes, alignment);
}
void operator delete(void* block) noexcept { std::free(block); }
void operator delete[](void* block) noexcept { std::free(block); }
void operator delete(void* block, size_t) noexcept { std::free(block); }
void operator delete[](void* block, size_t) noexcept { std::free(block); }
void operator delete(void* block, std::align_val_t) noexcept { std::free(block); }
void operator delete[](void* block, std::align_val_t) noexcept { std::free(block); }
void operator delete(void* block, size_t, std::align_val_t) noexcept { std::free(block); }
void operator delete[](void* block, size_t, std::align_val_t) noexcept { std::free(block); }
void operator delete(void* block, const std::nothrow_t&) noexcept { std::free(block); }
void operator delete[](void* block, const std::nothrow_t&) noexcept { std::free(block); }

#endif
