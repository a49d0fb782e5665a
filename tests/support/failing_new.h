// Test helper: makes the Nth allocation of this thread throw, and counts what is still allocated.
// Using it links failing_new.cpp, which replaces operator new.
#pragma once

#include <cstdint>

namespace dsv3 {

class FailingNew {
 public:
  // Inside the scope the allocation number `fail_at` (from 0) of this thread throws bad_alloc.
  explicit FailingNew(uint64_t fail_at);
  ~FailingNew();
  FailingNew(const FailingNew&) = delete;
  FailingNew& operator=(const FailingNew&) = delete;

  static uint64_t blocks_live();  // of all threads, since the program started
  static bool failed();           // the last scope of this thread reached its failing allocation
};

}  // namespace dsv3
