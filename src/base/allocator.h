// Where the big blocks come from: the host's allocator hook or the C heap, with a ceiling and a
// count.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

namespace dsv3 {

// Thread safe. Every block is zeroed by the caller that needs zeroes, not here.
class Allocator {
 public:
  // The host's functions; null allocate means the C heap. Copied; user_data must outlive the
  // Allocator.
  struct Hook {
    void* (*allocate)(void* user_data, uint64_t bytes, uint64_t alignment) = nullptr;
    void (*release)(void* user_data, void* block, uint64_t bytes) = nullptr;
    void* user_data = nullptr;
  };

  Allocator(const Hook& hook, uint64_t ceiling_bytes);  // ceiling 0 = none
  Allocator(const Allocator&) = delete;
  Allocator& operator=(const Allocator&) = delete;

  // Throws OUT_OF_MEMORY (the source refused) or LIMIT (over the ceiling), naming `what`, the bytes
  // asked for, the bytes held and the ceiling. `alignment` is a power of two. Zero bytes give null.
  void* allocate(uint64_t bytes, uint64_t alignment, std::string_view what);
  void release(void* block, uint64_t bytes) noexcept;

  uint64_t bytes_held() const { return bytes_held_.load(std::memory_order_relaxed); }
  uint64_t bytes_peak() const { return bytes_peak_.load(std::memory_order_relaxed); }
  uint64_t ceiling_bytes() const { return ceiling_bytes_; }

 private:
  const Hook hook_;
  const uint64_t ceiling_bytes_;
  std::atomic<uint64_t> bytes_held_{0};
  std::atomic<uint64_t> bytes_peak_{0};
};

// One owned block, 64-byte aligned unless asked otherwise. Movable; releases itself.
class Block {
 public:
  Block() = default;
  Block(Allocator& allocator, uint64_t bytes, std::string_view what, uint64_t alignment = 64);
  Block(Block&& other) noexcept;
  Block& operator=(Block&& other) noexcept;
  ~Block();

  std::byte* data() const { return data_; }
  uint64_t bytes() const { return bytes_; }
  // For host memory that every pass writes: all its pages are present from now on.
  void make_resident() const noexcept;

 private:
  Allocator* allocator_ = nullptr;
  std::byte* data_ = nullptr;
  uint64_t bytes_ = 0;
};

// Carves typed spans out of one range. The same carving code runs twice: without memory it only
// measures (bytes()), with memory it hands out pointers. Alignment of every piece: 64 bytes.
class Carver {
 public:
  Carver() = default;  // measuring
  explicit Carver(const Block& block) : base_(block.data()), capacity_(block.bytes()) {}

  // Pointer to `count` objects of T, or null when measuring. Error{INTERNAL} past the end.
  template <typename T>
  T* take(uint64_t count) {
    return reinterpret_cast<T*>(take_bytes(count, sizeof(T)));
  }
  uint64_t bytes() const { return used_; }

 private:
  std::byte* take_bytes(uint64_t count, uint64_t size);

  std::byte* base_ = nullptr;
  uint64_t capacity_ = 0;
  uint64_t used_ = 0;
};

}  // namespace dsv3
