// Replaces operator new and delete for this test program: counted, and failing on demand.
#include "support/failing_new.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

std::atomic<uint64_t> blocks{0};
thread_local bool armed = false;
thread_local bool reached = false;
thread_local uint64_t until_failure = 0;

bool refuse() {
  if (!armed) return false;
  if (until_failure == 0) {
    armed = false;
    reached = true;
    return true;
  }
  --until_failure;
  return false;
}

void* counted(size_t bytes) noexcept {
  if (refuse()) return nullptr;
  void* const block = std::malloc(bytes == 0 ? 1 : bytes);
  if (block != nullptr) blocks.fetch_add(1, std::memory_order_relaxed);
  return block;
}

void release(void* block) noexcept {
  if (block != nullptr) blocks.fetch_sub(1, std::memory_order_relaxed);
  std::free(block);
}

}  // namespace

void* operator new(size_t bytes) {
  void* const block = counted(bytes);
  if (block == nullptr) throw std::bad_alloc();
  return block;
}
void* operator new[](size_t bytes) { return operator new(bytes); }
void* operator new(size_t bytes, const std::nothrow_t&) noexcept { return counted(bytes); }
void* operator new[](size_t bytes, const std::nothrow_t&) noexcept { return counted(bytes); }
void operator delete(void* block) noexcept { release(block); }
void operator delete[](void* block) noexcept { release(block); }
void operator delete(void* block, size_t) noexcept { release(block); }
void operator delete[](void* block, size_t) noexcept { release(block); }
void operator delete(void* block, const std::nothrow_t&) noexcept { release(block); }
void operator delete[](void* block, const std::nothrow_t&) noexcept { release(block); }

namespace dsv3 {

FailingNew::FailingNew(uint64_t fail_at) {
  reached = false;
  until_failure = fail_at;
  armed = true;
}
FailingNew::~FailingNew() { armed = false; }
uint64_t FailingNew::blocks_live() { return blocks.load(std::memory_order_relaxed); }
bool FailingNew::failed() { return reached; }

}  // namespace dsv3
