// What differs between operating systems: mapping, reading, aligned memory, threads, processors.
// One file per system (platform_linux.cpp), chosen by CMake.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace dsv3 {

// A regular file open for reading. Thread safe.
class PlatformFile {
 public:
  virtual ~PlatformFile() = default;
  virtual uint64_t size() const = 0;
  // Fills [out, out + bytes) from `offset`; Error{IO} naming the file on a short read or an error.
  virtual void read(uint64_t offset, std::byte* out, uint64_t bytes) = 0;
  // The whole file, read-only, until the PlatformFile is destroyed; Error{IO} when it cannot be
  // mapped. Large pages where the system has them (decision 0013).
  virtual const std::byte* map() = 0;
  // Hint: this range will be read soon. Never fails.
  virtual void will_need(uint64_t offset, uint64_t bytes) = 0;
};

// `path` is UTF-8. Empty when there is no such file; Error{IO} naming the path for everything else
// (no permission, a directory, a device).
std::unique_ptr<PlatformFile> platform_open(const std::string& path);
// The path with symbolic links resolved, or empty when it does not exist.
std::optional<std::string> platform_real_path(const std::string& path);
bool platform_is_directory(const std::string& path);

// Null when the heap refuses. `alignment` is a power of two, at least sizeof(void*). Blocks of 32
// MiB and more ask for large pages.
void* platform_aligned_allocate(uint64_t bytes, uint64_t alignment) noexcept;
void platform_aligned_release(void* block) noexcept;

// Both are hints and never fail. The first reads just enough of mapped memory that whatever of it
// the system holds is mapped for this process afterwards, waiting for what it does not hold; the
// second makes every page of writable memory present. Contents stay as they are.
void platform_touch_mapped(const std::byte* data, uint64_t bytes) noexcept;
void platform_make_resident(std::byte* data, uint64_t bytes) noexcept;
uint64_t platform_memory_bytes();  // of the machine

// Blocks every signal in the calling thread; the destructor brings back the mask it found. A thread
// started inside the scope never has an unblocked moment.
class PlatformSignalScope {
 public:
  PlatformSignalScope() noexcept;
  ~PlatformSignalScope();
  PlatformSignalScope(const PlatformSignalScope&) = delete;
  PlatformSignalScope& operator=(const PlatformSignalScope&) = delete;

 private:
  alignas(16) unsigned char saved_[128];
};

void platform_block_all_signals();                 // in the calling thread, for good
void platform_name_thread(const char* name);       // at most 15 characters
void platform_pin_thread(uint64_t affinity_mask);  // best effort; 0 = leave
uint32_t platform_processor_count();               // processors this process may use, at least 1
void platform_relax();                             // one beat of a spin loop

}  // namespace dsv3
