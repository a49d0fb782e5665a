#include "engine/page_pool.h"

#include "base/error.h"

namespace dsv3 {

PagePool::PagePool(uint32_t page_count) : page_count_(page_count) {
  free_.reserve(page_count);
  for (uint32_t page = page_count; page > 0; --page) {
    free_.push_back(static_cast<int32_t>(page - 1));
  }
}

int32_t PagePool::take() {
  DSV3_ASSERT(!free_.empty());
  const int32_t page = free_.back();
  free_.pop_back();
  return page;
}

void PagePool::give_back(std::span<const int32_t> pages) {
  DSV3_ASSERT(free_.size() + pages.size() <= page_count_);
  for (size_t i = pages.size(); i > 0; --i) free_.push_back(pages[i - 1]);
}

}  // namespace dsv3
