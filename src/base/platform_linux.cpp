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
  return posix_memalign(&block, alignment, bytes) == 0 ? block : nullptr;
}

void platform_aligned_release(void* block) noexcept { std::free(block); }

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
