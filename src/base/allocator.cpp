// One reservation against the ceiling, then the host's function or the heap.
#include "base/allocator.h"

#include <algorithm>
#include <utility>

#include "base/checked.h"
#include "base/error.h"
#include "base/platform.h"

namespace dsv3 {
namespace {

constexpr uint64_t kPieceAlignment = 64;
constexpr uint64_t kAlignmentMin = 16;

// Gives reserved bytes back unless the allocation came through, also when the host's function
// throws.
class Reservation {
 public:
  Reservation(std::atomic<uint64_t>& held, uint64_t bytes) : held_(held), bytes_(bytes) {}
  ~Reservation() { held_.fetch_sub(bytes_, std::memory_order_relaxed); }
  Reservation(const Reservation&) = delete;
  Reservation& operator=(const Reservation&) = delete;
  void keep() { bytes_ = 0; }

 private:
  std::atomic<uint64_t>& held_;
  uint64_t bytes_;
};

void raise_to(std::atomic<uint64_t>& peak, uint64_t value) {
  uint64_t seen = peak.load(std::memory_order_relaxed);
  while (seen < value && !peak.compare_exchange_weak(seen, value, std::memory_order_relaxed)) {
  }
}

}  // namespace

Allocator::Allocator(const Hook& hook, uint64_t ceiling_bytes)
    : hook_(hook), ceiling_bytes_(ceiling_bytes) {
  if ((hook.allocate == nullptr) != (hook.release == nullptr)) {
    fail(Status::kInvalidArgument,
         "allocator: one of allocate and release is null, wanted both or none");
  }
}

void* Allocator::allocate(uint64_t bytes, uint64_t alignment, std::string_view what) {
  DSV3_ASSERT(alignment != 0 && (alignment & (alignment - 1)) == 0);
  if (bytes == 0) return nullptr;
  alignment = std::max(alignment, kAlignmentMin);
  // Reserve first: two threads cannot pass the ceiling together.
  uint64_t held = bytes_held_.load(std::memory_order_relaxed);
  uint64_t wanted = 0;
  do {
    const auto sum = checked_add(held, bytes);
    if (!sum || (ceiling_bytes_ != 0 && *sum > ceiling_bytes_)) {
      fail(Status::kLimit, what, ": ", bytes, " bytes asked for and ", held,
           " held, over the ceiling of ", ceiling_bytes_, " bytes");
    }
    wanted = *sum;
  } while (!bytes_held_.compare_exchange_weak(held, wanted, std::memory_order_relaxed));
  Reservation reservation(bytes_held_, bytes);

  void* block = hook_.allocate != nullptr ? hook_.allocate(hook_.user_data, bytes, alignment)
                                          : platform_aligned_allocate(bytes, alignment);
  if (block == nullptr) {
    fail(Status::kOutOfMemory, what, ": ", hook_.allocate != nullptr ? "the host" : "the heap",
         " refused ", bytes, " bytes; ", held, " bytes held, ceiling ", ceiling_bytes_);
  }
  if (reinterpret_cast<uintptr_t>(block) % alignment != 0) {
    hook_.release(hook_.user_data, block, bytes);
    fail(Status::kInvalidArgument, what,
         ": the host's allocator returned a block that is not aligned to ", alignment, " bytes");
  }
  reservation.keep();
  raise_to(bytes_peak_, wanted);
  return block;
}

void Allocator::release(void* block, uint64_t bytes) noexcept {
  if (block == nullptr) return;
  if (hook_.release != nullptr) {
    hook_.release(hook_.user_data, block, bytes);
  } else {
    platform_aligned_release(block);
  }
  bytes_held_.fetch_sub(bytes, std::memory_order_relaxed);
}

Block::Block(Allocator& allocator, uint64_t bytes, std::string_view what, uint64_t alignment)
    : allocator_(&allocator),
      data_(static_cast<std::byte*>(allocator.allocate(bytes, alignment, what))),
      bytes_(bytes) {}

Block::Block(Block&& other) noexcept
    : allocator_(std::exchange(other.allocator_, nullptr)),
      data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)) {}

Block& Block::operator=(Block&& other) noexcept {
  if (this != &other) {
    if (allocator_ != nullptr) allocator_->release(data_, bytes_);
    allocator_ = std::exchange(other.allocator_, nullptr);
    data_ = std::exchange(other.data_, nullptr);
    bytes_ = std::exchange(other.bytes_, 0);
  }
  return *this;
}

Block::~Block() {
  if (allocator_ != nullptr) allocator_->release(data_, bytes_);
}

void Block::make_resident() const noexcept { platform_make_resident(data_, bytes_); }

std::byte* Carver::take_bytes(uint64_t count, uint64_t size) {
  const uint64_t bytes = mul_or_fail(count, size, "a carved piece");
  const uint64_t begin =
      add_or_fail(used_, kPieceAlignment - 1, "carved bytes") & ~(kPieceAlignment - 1);
  const uint64_t end = add_or_fail(begin, bytes, "carved bytes");
  if (base_ != nullptr && end > capacity_) {
    fail(Status::kInternal, "carving ", end, " bytes out of a block of ", capacity_);
  }
  used_ = end;
  return base_ == nullptr ? nullptr : base_ + begin;
}

}  // namespace dsv3
