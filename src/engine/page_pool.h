// Which pages of the latent cache are free?
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace dsv3 {

// Guarded by the engine's lock. Allocates only when it is made.
class PagePool {
 public:
  explicit PagePool(uint32_t page_count);

  uint32_t free_count() const { return static_cast<uint32_t>(free_.size()); }
  uint32_t page_count() const { return page_count_; }

  // A free page. Defect when there is none: the scheduler counts first.
  int32_t take();
  void give_back(std::span<const int32_t> pages);

 private:
  const uint32_t page_count_;
  std::vector<int32_t> free_;  // taken from the end, so the lowest pages go first
};

}  // namespace dsv3
