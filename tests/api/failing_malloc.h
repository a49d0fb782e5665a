// Makes malloc and operator new fail on purpose, on the thread that asks for it, in this program
// and the libraries it uses.
#pragma once

#include <cstdint>

namespace dsv3_test {

// From the scope's begin, this thread's allocation number `first` (0 = the next one) fails, and
// with `persistent` all later ones too. Only one scope per thread.
class FailingMalloc {
 public:
  FailingMalloc(uint64_t first, bool persistent);
  ~FailingMalloc();
  FailingMalloc(const FailingMalloc&) = delete;
  FailingMalloc& operator=(const FailingMalloc&) = delete;

  // An allocation has failed since the scope began.
  static bool has_failed();
};

// Blocks that this thread has taken and not given back since the program started; 0 where a
// sanitizer counts instead.
int64_t blocks_of_this_thread();

}  // namespace dsv3_test
