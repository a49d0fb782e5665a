// Stack switching. This file is compiled without sanitizers and speaks to them through weak
// symbols, so that the same code serves all builds.
#include "emulation/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#if !defined(__x86_64__)
#  include <ucontext.h>
#endif

extern "C" {
[[gnu::weak]] void __sanitizer_start_switch_fiber(void** save, const void* bottom, size_t bytes);
[[gnu::weak]] void __sanitizer_finish_switch_fiber(void* saved, const void** bottom_old,
                                                   size_t* bytes_old);
[[gnu::weak]] void* __tsan_get_current_fiber();
[[gnu::weak]] void* __tsan_create_fiber(unsigned flags);
[[gnu::weak]] void __tsan_destroy_fiber(void* fiber);
[[gnu::weak]] void __tsan_switch_to_fiber(void* fiber, unsigned flags);
[[gnu::weak]] void __tsan_acquire(void* at);
[[gnu::weak]] void __tsan_release(void* at);
}

namespace dsv3::emulated {
namespace {

constexpr size_t kStackBytes = 256 * 1024;  // reserved; only touched pages cost memory
// Stacks begin at equal places of their pages; without this they would fight for the same few sets
// of the first-level cache.
constexpr size_t kColours = 29;
constexpr size_t kColourBytes = 576;
constexpr unsigned kTsanNoOrder = 1;  // a switch orders nothing: only barriers do

// The fiber that the last switch on this OS thread left.
thread_local constinit Fiber* left_fiber = nullptr;

#if defined(__x86_64__)
// System V: the callee-saved registers go on the old stack, those on the new one come back.
[[gnu::naked, gnu::noinline]] void switch_stack(void** /*save*/, void* /*load*/) {
  asm volatile(
      "pushq %rbp\n pushq %rbx\n pushq %r12\n pushq %r13\n pushq %r14\n pushq %r15\n"
      "movq %rsp, (%rdi)\n movq %rsi, %rsp\n"
      "popq %r15\n popq %r14\n popq %r13\n popq %r12\n popq %rbx\n popq %rbp\n ret\n");
}

void* prepared_stack(void* top, void (*entry)()) {
  void** stack_pointer = static_cast<void**>(top);
  *--stack_pointer = nullptr;  // the return address that `entry` would see: aligned as after a call
  *--stack_pointer = reinterpret_cast<void*>(entry);
  for (int i = 0; i < 6; ++i) *--stack_pointer = nullptr;
  return stack_pointer;
}
#else
ucontext_t* context_of(Fiber& fiber) {
  if (fiber.stack_pointer == nullptr) fiber.stack_pointer = new ucontext_t{};
  return static_cast<ucontext_t*>(fiber.stack_pointer);
}
#endif

[[noreturn]] void no_memory_for_stacks() {
  std::perror("emulator: mapping a fiber's stack");
  std::abort();
}

}  // namespace

const bool fibers_are_watched = __tsan_create_fiber != nullptr;

void fiber_create(Fiber& fiber, size_t number, void (*entry)()) {
  const auto guard = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  void* const memory = mmap(nullptr, kStackBytes + guard, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) no_memory_for_stacks();
  if (mprotect(memory, guard, PROT_NONE) != 0) no_memory_for_stacks();
  fiber.mapping = memory;
  fiber.stack = static_cast<char*>(memory) + guard;
  fiber.stack_bytes = kStackBytes;
  if (__tsan_create_fiber != nullptr) fiber.tsan = __tsan_create_fiber(0);
#if defined(__x86_64__)
  char* const top = static_cast<char*>(fiber.stack) + kStackBytes;
  fiber.stack_pointer = prepared_stack(top - number % kColours * kColourBytes, entry);
#else
  static_cast<void>(number);
  ucontext_t* const context = context_of(fiber);
  getcontext(context);
  context->uc_stack.ss_sp = fiber.stack;
  context->uc_stack.ss_size = kStackBytes;
  context->uc_link = nullptr;
  makecontext(context, entry, 0);
#endif
}

void fiber_destroy(Fiber& fiber) {
  if (fiber.mapping == nullptr) return;
  const auto guard = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  if (fiber.tsan != nullptr) __tsan_destroy_fiber(fiber.tsan);
#if !defined(__x86_64__)
  delete static_cast<ucontext_t*>(fiber.stack_pointer);
#endif
  munmap(fiber.mapping, kStackBytes + guard);
  fiber = {};
}

void fiber_adopt(Fiber& fiber) {
  if (__tsan_get_current_fiber != nullptr) fiber.tsan = __tsan_get_current_fiber();
}

void fiber_entered() {
  if (__sanitizer_finish_switch_fiber == nullptr) return;
  Fiber& left = *left_fiber;
  const void* bottom = nullptr;
  size_t bytes = 0;
  __sanitizer_finish_switch_fiber(nullptr, &bottom, &bytes);
  // A thread's own stack is learned at the first switch away from it.
  if (left.stack == nullptr) {
    left.stack = const_cast<void*>(bottom);
    left.stack_bytes = bytes;
  }
}

namespace {

void tell_before_switch(Fiber& from, const Fiber& to) {
  if (__sanitizer_start_switch_fiber != nullptr) {
    __sanitizer_start_switch_fiber(&from.fake_stack, to.stack, to.stack_bytes);
  }
  if (__tsan_switch_to_fiber != nullptr) __tsan_switch_to_fiber(to.tsan, kTsanNoOrder);
}

void tell_after_switch(const Fiber& from) {
  if (__sanitizer_finish_switch_fiber != nullptr) {
    __sanitizer_finish_switch_fiber(from.fake_stack, nullptr, nullptr);
  }
}

const bool kIsSanitized = __sanitizer_start_switch_fiber != nullptr || fibers_are_watched;

}  // namespace

void fiber_switch(Fiber& from, Fiber& to) {
  left_fiber = &from;
  if (kIsSanitized) tell_before_switch(from, to);
#if defined(__x86_64__)
  switch_stack(&from.stack_pointer, to.stack_pointer);
#else
  swapcontext(context_of(from), context_of(to));
#endif
  if (kIsSanitized) tell_after_switch(from);
}

void tell_release(void* at) { __tsan_release(at); }
void tell_acquire(void* at) { __tsan_acquire(at); }

}  // namespace dsv3::emulated
