// Fibers: several stacks on one OS thread, switched by hand. Each CUDA thread that has started runs
// on one. Sanitizers are told about every switch when the program has them.
#pragma once

#include <cstddef>

namespace dsv3::emulated {

struct Fiber {
  void* stack_pointer = nullptr;  // where to go on; valid while the fiber does not run
  void* stack = nullptr;          // lowest address; of a thread's own stack learned on leaving it
  size_t stack_bytes = 0;
  void* mapping = nullptr;     // the memory behind `stack`; null for a thread's own stack
  void* fake_stack = nullptr;  // ASan's, for detect_stack_use_after_return
  void* tsan = nullptr;        // TSan's identity
};

// True when the program runs under ThreadSanitizer: fibers then stand for threads in its reports.
extern const bool fibers_are_watched;

// A fiber that runs `entry` at its first switch; `entry` never returns. Fibers of different
// `number` keep their frames in different cache sets.
void fiber_create(Fiber& fiber, size_t number, void (*entry)());
void fiber_destroy(Fiber& fiber);
// Makes `fiber` stand for the stack that the caller runs on.
void fiber_adopt(Fiber& fiber);
// Leaves `from`, the running fiber, and goes on with `to`.
void fiber_switch(Fiber& from, Fiber& to);
// First line of an `entry`.
void fiber_entered();

// What happened before release is seen after acquire: for TSan, which no switch tells anything.
void tell_release(void* at);
void tell_acquire(void* at);
inline void order_release(void* at) {
  if (fibers_are_watched) tell_release(at);
}
inline void order_acquire(void* at) {
  if (fibers_are_watched) tell_acquire(at);
}

}  // namespace dsv3::emulated
