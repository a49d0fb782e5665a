// Folder, memory and host callbacks behind one way to open a file.
#include "checkpoint/source.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "base/platform.h"
#include "checkpoint/json_scan.h"

namespace dsv3 {
namespace {

constexpr size_t kNameBytesMax = 255;

void want_range(std::string_view name, uint64_t size, uint64_t offset, uint64_t bytes) {
  if (offset > size || bytes > size - offset) {
    fail(Status::kIo, name, ": ", bytes, " bytes wanted at byte ", offset, ", the file has ", size);
  }
}

class FolderFile final : public SourceFile {
 public:
  explicit FolderFile(std::unique_ptr<PlatformFile> file) : file_(std::move(file)) {}
  uint64_t size() const override { return file_->size(); }
  void read(uint64_t offset, std::byte* out, uint64_t bytes) override {
    file_->read(offset, out, bytes);
  }
  const std::byte* map() override { return file_->map(); }
  void will_need(uint64_t offset, uint64_t bytes) override { file_->will_need(offset, bytes); }

 private:
  const std::unique_ptr<PlatformFile> file_;
};

class MemoryFileView final : public SourceFile {
 public:
  MemoryFileView(std::string name, const std::byte* data, uint64_t bytes)
      : name_(std::move(name)), data_(data), bytes_(bytes) {}
  uint64_t size() const override { return bytes_; }
  void read(uint64_t offset, std::byte* out, uint64_t bytes) override {
    want_range(name_, bytes_, offset, bytes);
    if (bytes != 0) std::memcpy(out, data_ + offset, bytes);
  }
  const std::byte* map() override { return data_; }
  void will_need(uint64_t, uint64_t) override {}

 private:
  const std::string name_;
  const std::byte* const data_;
  const uint64_t bytes_;
};

// Locks for SERIAL callbacks only.
class SerialLock {
 public:
  SerialLock(bool serial, std::mutex& mutex) : lock_(mutex, std::defer_lock) {
    if (serial) lock_.lock();
  }

 private:
  std::unique_lock<std::mutex> lock_;
};

class IoFile final : public SourceFile {
 public:
  IoFile(const IoCallbacks& io, std::shared_ptr<std::mutex> mutex, const std::string& name)
      : io_(io), mutex_(std::move(mutex)), name_(name) {}
  ~IoFile() override {
    if (!open_) return;
    const SerialLock lock(io_.serial, *mutex_);
    io_.close(io_.user_data, file_);
  }
  IoFile(const IoFile&) = delete;
  IoFile& operator=(const IoFile&) = delete;

  // False when there is no such file. Apart from the constructor, which may run out of memory
  // before there is anything to close.
  bool open_existing() {
    const SerialLock lock(io_.serial, *mutex_);
    const int32_t opened = io_.open(io_.user_data, name_.c_str(), &file_);
    if (opened == 1) return false;
    if (opened != 0) fail(Status::kIo, name_, ": the host's open returned ", opened);
    open_ = true;
    const int32_t sized = io_.size(io_.user_data, file_, &size_);
    if (sized != 0) fail(Status::kIo, name_, ": the host's size returned ", sized);
    return true;
  }

  uint64_t size() const override { return size_; }
  void read(uint64_t offset, std::byte* out, uint64_t bytes) override {
    want_range(name_, size_, offset, bytes);
    if (bytes == 0) return;
    const SerialLock lock(io_.serial, *mutex_);
    const int32_t result = io_.read(io_.user_data, file_, offset, out, bytes);
    if (result != 0) {
      fail(Status::kIo, name_, ": the host's read of ", bytes, " bytes at byte ", offset,
           " returned ", result);
    }
  }
  const std::byte* map() override {
    if (io_.map == nullptr) return nullptr;
    const SerialLock lock(io_.serial, *mutex_);
    if (!mapped_known_) {
      mapped_ = static_cast<const std::byte*>(io_.map(io_.user_data, file_));
      mapped_known_ = true;
    }
    return mapped_;
  }
  void will_need(uint64_t, uint64_t) override {}

 private:
  const IoCallbacks io_;
  const std::shared_ptr<std::mutex> mutex_;
  const std::string name_;
  void* file_ = nullptr;
  bool open_ = false;
  uint64_t size_ = 0;
  bool mapped_known_ = false;
  const std::byte* mapped_ = nullptr;
};

}  // namespace

std::string_view file_name_problem(std::string_view name) {
  if (name.empty()) return "is empty";
  if (name.size() > kNameBytesMax) return "is longer than 255 bytes";
  if (name.front() == '/' || name.front() == '\\') return "is an absolute path";
  if (name == "." || name == "..") return "is a folder, not a file";
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find_first_of("/\\", begin), name.size());
    if (name.substr(begin, end - begin) == "..") return "leaves the model folder by \"..\"";
    begin = end + 1;
  }
  if (name.find_first_of("/\\") != std::string_view::npos) return "holds a path separator";
  if (name.find(':') != std::string_view::npos) return "holds a colon";
  const bool control = std::any_of(
      name.begin(), name.end(), [](char c) { return static_cast<uint8_t>(c) < 0x20 || c == 0x7f; });
  return control ? "holds a control byte" : "";
}

std::unique_ptr<SourceFile> FileSource::open(const std::string& name) {
  const std::string_view problem = file_name_problem(name);
  if (!problem.empty()) {
    fail(Status::kInvalidModel, description(), ": file name ", quote(name), " ", problem,
         ", wanted a plain file name");
  }
  return do_open(name);
}

FolderSource::FolderSource(const std::string& path, bool follow_links)
    : path_(path), follow_links_(follow_links) {
  auto real = platform_real_path(path);
  if (!real) fail(Status::kIo, path, ": no such folder");
  if (!platform_is_directory(*real)) fail(Status::kIo, path, ": is not a folder");
  real_path_ = std::move(*real);
  if (real_path_.back() != '/') real_path_ += '/';
}

std::string FolderSource::description() const { return str("folder ", path_); }

std::unique_ptr<SourceFile> FolderSource::do_open(const std::string& name) {
  const auto real = platform_real_path(real_path_ + name);
  if (!real) return nullptr;
  if (!follow_links_ && real->compare(0, real_path_.size(), real_path_) != 0) {
    fail(Status::kInvalidModel, path_, ": file ", quote(name), " is a link to ", quote(*real),
         " outside the model folder, wanted a file inside it; the option follow_links allows this");
  }
  // The resolved path, so that what was checked is what is opened.
  auto file = platform_open(*real);
  if (file == nullptr) return nullptr;
  return std::make_unique<FolderFile>(std::move(file));
}

MemorySource::MemorySource(std::span<const MemoryFile> files) {
  files_.reserve(files.size());
  for (const MemoryFile& file : files) {
    const std::string_view problem = file_name_problem(file.name);
    if (!problem.empty()) {
      fail(Status::kInvalidArgument, "memory file name ", quote(file.name), " ", problem,
           ", wanted a plain file name");
    }
    if (file.data == nullptr && file.bytes != 0) {
      fail(Status::kInvalidArgument, "memory file ", quote(file.name), " has ", file.bytes,
           " bytes at null");
    }
    files_.push_back(
        {std::string(file.name), static_cast<const std::byte*>(file.data), file.bytes});
  }
  std::sort(files_.begin(), files_.end(),
            [](const Named& a, const Named& b) { return a.name < b.name; });
  const auto twice =
      std::adjacent_find(files_.begin(), files_.end(),
                         [](const Named& a, const Named& b) { return a.name == b.name; });
  if (twice != files_.end()) {
    fail(Status::kInvalidArgument, "memory file ", quote(twice->name), " is given twice");
  }
}

std::unique_ptr<SourceFile> MemorySource::do_open(const std::string& name) {
  static constexpr std::byte kEmpty{};
  const auto found =
      std::lower_bound(files_.begin(), files_.end(), name,
                       [](const Named& a, const std::string& b) { return a.name < b; });
  if (found == files_.end() || found->name != name) return nullptr;
  const std::byte* const data = found->data != nullptr ? found->data : &kEmpty;
  return std::make_unique<MemoryFileView>(name, data, found->bytes);
}

IoSource::IoSource(const IoCallbacks& callbacks)
    : callbacks_(callbacks), mutex_(std::make_shared<std::mutex>()) {
  if (callbacks.open == nullptr || callbacks.size == nullptr || callbacks.read == nullptr ||
      callbacks.close == nullptr) {
    fail(Status::kInvalidArgument, "dsv3_io: open, size, read or close is null, wanted all four");
  }
}

std::unique_ptr<SourceFile> IoSource::do_open(const std::string& name) {
  auto file = std::make_unique<IoFile>(callbacks_, mutex_, name);
  if (!file->open_existing()) return nullptr;
  return file;
}

}  // namespace dsv3
