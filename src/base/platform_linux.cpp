// Linux: files by pread and mmap, threads by pthread and sched.
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>

#include "base/error.h"
#include "base/platform.h"

#if defined(__x86_64__)
#  include <immintrin.h>
#endif

namespace dsv3 {
namespace {

// One read call moves at most this much (the kernel's own limit is just under 2 GiB).
constexpr uint64_t kReadBytesMax = uint64_t{1} << 30;
// A fault on a file's page maps its neighbours in the page cache up to this alignment
// (fault_around_bytes of the kernel), or a whole large page.
constexpr uint64_t kFaultAroundBytes = uint64_t{64} << 10;
constexpr uint64_t kPageBytesMin = 4096;
constexpr uint64_t kLargePageBytes = uint64_t{2} << 20;
// The C library maps each block of this size by itself and unmaps it when it is freed: what is
// advised for it does not stay behind on the host's heap.
constexpr uint64_t kMappedBytesMin = uint64_t{32} << 20;
#if defined(MADV_POPULATE_WRITE)
constexpr int kPopulateWrite = MADV_POPULATE_WRITE;
#else
constexpr int kPopulateWrite = 23;  // Linux 5.14; older ones refuse it
#endif

std::string error_text(int error) {
  char buffer[128];
  return str(strerror_r(error, buffer, sizeof(buffer)), " (errno ", error, ")");
}

class LinuxFile final : public PlatformFile {
 public:
  explicit LinuxFile(const std::string& path) : path_(path) {}

  // False when there is no such file.
  bool open_existing() {
    // Non-blocking, so that a pipe in the folder cannot hang us; regular files do not notice.
    do {
      descriptor_ = open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    } while (descriptor_ < 0 && errno == EINTR);
    if (descriptor_ < 0) {
      if (errno == ENOENT || errno == ENOTDIR) return false;
      fail(Status::kIo, path_, ": cannot open: ", error_text(errno));
    }
    struct stat info = {};
    if (fstat(descriptor_, &info) != 0) {
      fail(Status::kIo, path_, ": cannot ask its size: ", error_text(errno));
    }
    if (!S_ISREG(info.st_mode)) {
      fail(Status::kIo, path_, ": is ", S_ISDIR(info.st_mode) ? "a folder" : "a device or pipe",
           ", wanted a regular file");
    }
    size_ = static_cast<uint64_t>(info.st_size);
    return true;
  }
  ~LinuxFile() override {
    if (mapped_ != nullptr) munmap(mapped_, size_);
    if (descriptor_ >= 0) close(descriptor_);
  }
  LinuxFile(const LinuxFile&) = delete;
  LinuxFile& operator=(const LinuxFile&) = delete;

  uint64_t size() const override { return size_; }

  void read(uint64_t offset, std::byte* out, uint64_t bytes) override {
    if (offset > size_ || bytes > size_ - offset) {
      fail(Status::kIo, path_, ": ", bytes, " bytes wanted at byte ", offset, ", the file has ",
           size_);
    }
    uint64_t done = 0;
    while (done < bytes) {
      const uint64_t part = std::min(bytes - done, kReadBytesMax);
      const ssize_t got = pread(descriptor_, out + done, part, static_cast<off_t>(offset + done));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) {
        fail(Status::kIo, path_, ": cannot read at byte ", offset + done, ": ", error_text(errno));
      }
      if (got == 0) {
        fail(Status::kIo, path_, ": ends at byte ", offset + done, ", had ", size_,
             " bytes when opened");
      }
      done += static_cast<uint64_t>(got);
    }
  }

  const std::byte* map() override {
    static constexpr std::byte kEmpty{};
    if (size_ == 0) return &kEmpty;
    const std::lock_guard<std::mutex> lock(mutex_);
    if (mapped_ == nullptr) {
      void* const mapped = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, descriptor_, 0);
      if (mapped == MAP_FAILED) {
        fail(Status::kIo, path_, ": cannot map ", size_, " bytes: ", error_text(errno));
      }
      mapped_ = mapped;
      // What has to be read from now on comes in pages of 2 MiB. A refusal changes nothing else.
      madvise(mapped, size_, MADV_HUGEPAGE);
    }
    return static_cast<const std::byte*>(mapped_);
  }

  void will_need(uint64_t offset, uint64_t bytes) override {
    if (offset >= size_) return;
    posix_fadvise(descriptor_, static_cast<off_t>(offset),
                  static_cast<off_t>(std::min(bytes, size_ - offset)), POSIX_FADV_WILLNEED);
  }

 private:
  const std::string path_;
  int descriptor_ = -1;
  uint64_t size_ = 0;
  std::mutex mutex_;
  void* mapped_ = nullptr;  // guarded by mutex_ until set
};

void want_c_string(const std::string& path) {
  if (path.find('\0') != std::string::npos) {
    fail(Status::kIo, path.c_str(), ": the path holds a NUL byte");
  }
}

}  // namespace

std::unique_ptr<PlatformFile> platform_open(const std::string& path) {
  want_c_string(path);
  auto file = std::make_unique<LinuxFile>(path);
  if (!file->open_existing()) return nullptr;
  return file;
}

std::optional<std::string> platform_real_path(const std::string& path) {
  want_c_string(path);
  const std::unique_ptr<char, void (*)(void*)> real(realpath(path.c_str(), nullptr), std::free);
  if (real == nullptr) {
    if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
    if (errno == ENOMEM) throw std::bad_alloc();
    fail(Status::kIo, path, ": cannot resolve: ", error_text(errno));
  }
  return std::string(real.get());
}

bool platform_is_directory(const std::string& path) {
  want_c_string(path);
  struct stat info = {};
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

void* platform_aligned_allocate(uint64_t bytes, uint64_t alignment) noexcept {
  void* block = nullptr;
  const bool is_large = bytes >= kMappedBytesMin;
  if (is_large) alignment = std::max(alignment, kLargePageBytes);
  if (posix_memalign(&block, alignment, bytes) != 0) return nullptr;
  // Fewer faults, in passes too: the latent cache is touched as it fills. A refusal costs nothing.
  if (is_large) madvise(block, bytes / kLargePageBytes * kLargePageBytes, MADV_HUGEPAGE);
  return block;
}

void platform_aligned_release(void* block) noexcept { std::free(block); }

void platform_touch_mapped(const std::byte* data, uint64_t bytes) noexcept {
  if (bytes == 0) return;
  const volatile std::byte* const seen = data;
  const uint64_t into_window = reinterpret_cast<uintptr_t>(data) % kFaultAroundBytes;
  static_cast<void>(seen[0]);
  for (uint64_t at = kFaultAroundBytes - into_window; at < bytes; at += kFaultAroundBytes) {
    static_cast<void>(seen[at]);
  }
}

void platform_make_resident(std::byte* data, uint64_t bytes) noexcept {
  if (bytes == 0) return;
  const uint64_t into_page = reinterpret_cast<uintptr_t>(data) % kPageBytesMin;
  const uint64_t whole = (bytes + into_page + kPageBytesMin - 1) / kPageBytesMin * kPageBytesMin;
  if (madvise(data - into_page, whole, kPopulateWrite) == 0) return;
  volatile std::byte* const own = data;
  for (uint64_t at = 0; at < bytes; at += at == 0 ? kPageBytesMin - into_page : kPageBytesMin) {
    own[at] = own[at];
  }
}

uint64_t platform_memory_bytes() {
  const int64_t pages = sysconf(_SC_PHYS_PAGES);
  const int64_t page_bytes = sysconf(_SC_PAGESIZE);
  return static_cast<uint64_t>(std::max<int64_t>(pages, 1)) *
         static_cast<uint64_t>(std::max<int64_t>(page_bytes, 1));
}

static_assert(sizeof(sigset_t) <= 128, "PlatformSignalScope keeps a sigset_t");

PlatformSignalScope::PlatformSignalScope() noexcept {
  sigset_t all;
  sigset_t old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  std::memcpy(saved_, &old, sizeof(old));
}

PlatformSignalScope::~PlatformSignalScope() {
  sigset_t old;
  std::memcpy(&old, saved_, sizeof(old));
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
}

void platform_block_all_signals() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, nullptr);
}

void platform_name_thread(const char* name) { pthread_setname_np(pthread_self(), name); }

void platform_pin_thread(uint64_t affinity_mask) {
  if (affinity_mask == 0) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  for (unsigned processor = 0; processor < 64; ++processor) {
    if ((affinity_mask >> processor & 1u) != 0) CPU_SET(processor, &set);
  }
  pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

uint32_t platform_processor_count() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) {
    return static_cast<uint32_t>(std::max(CPU_COUNT(&set), 1));
  }
  return static_cast<uint32_t>(std::max(sysconf(_SC_NPROCESSORS_ONLN), 1L));
}

void platform_relax() {
#if defined(__x86_64__)
  _mm_pause();
#else
  asm volatile("yield");
#endif
}

}  // namespace dsv3
