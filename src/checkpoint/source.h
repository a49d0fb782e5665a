// Where a model's files come from: a folder, memory, or the host's own functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dsv3 {

// One open file. read, map and will_need may be called from several threads.
class SourceFile {
 public:
  virtual ~SourceFile() = default;
  virtual uint64_t size() const = 0;
  // Fills [out, out + bytes) from `offset`; Error{IO} naming the file, also past its end.
  virtual void read(uint64_t offset, std::byte* out, uint64_t bytes) = 0;
  // The whole file, read-only, valid while the SourceFile lives; null when this source has no
  // mapping.
  virtual const std::byte* map() = 0;
  // Hint: this range will be read soon. Never fails.
  virtual void will_need(uint64_t offset, uint64_t bytes) = 0;
};

// Why `name` is no plain file name (empty: it is one). Plain means one path component that stays in
// its folder on every system: no separator, drive, "." or "..", control byte, or over 255 bytes.
std::string_view file_name_problem(std::string_view name);

class FileSource {
 public:
  virtual ~FileSource() = default;
  // Null when there is no such file. Error{INVALID_MODEL} for a name that is not plain, Error{IO}
  // when the file is there and cannot be opened.
  std::unique_ptr<SourceFile> open(const std::string& name);
  bool exists(const std::string& name) { return open(name) != nullptr; }
  // For messages: "folder /models/v3", "memory", "dsv3_io".
  virtual std::string description() const = 0;

 private:
  virtual std::unique_ptr<SourceFile> do_open(const std::string& name) = 0;
};

// Files of one folder. The folder's own path may be a link; a file that is a link to outside the
// folder is refused unless follow_links (Hugging Face's cache stores every file so).
class FolderSource final : public FileSource {
 public:
  // Error{IO} when `path` is not a folder.
  explicit FolderSource(const std::string& path, bool follow_links = false);
  std::string description() const override;

 private:
  std::unique_ptr<SourceFile> do_open(const std::string& name) override;

  const std::string path_;  // as given
  std::string real_path_;   // links resolved, ends in the separator
  const bool follow_links_;
};

struct MemoryFile {
  std::string_view name;
  const void* data = nullptr;
  uint64_t bytes = 0;
};

// Files in memory of the caller, which must stay until the last SourceFile is gone. Names are
// copied.
class MemorySource final : public FileSource {
 public:
  // INVALID_ARGUMENT: a name twice or not plain, or null data with bytes.
  explicit MemorySource(std::span<const MemoryFile> files);
  std::string description() const override { return "memory"; }

 private:
  struct Named {
    std::string name;
    const std::byte* data;
    uint64_t bytes;
  };
  std::unique_ptr<SourceFile> do_open(const std::string& name) override;

  std::vector<Named> files_;
};

// The host's functions. All but map are required; a non-zero return is an error except where said.
// `open` gives 0, 1 for "no such file", anything else for an error.
struct IoCallbacks {
  int32_t (*open)(void* user_data, const char* name, void** out_file) = nullptr;
  int32_t (*size)(void* user_data, void* file, uint64_t* out_bytes) = nullptr;
  // Must fill the whole range.
  int32_t (*read)(void* user_data, void* file, uint64_t offset, void* out,
                  uint64_t bytes) = nullptr;
  // The whole file in memory until close, or null when it cannot.
  const void* (*map)(void* user_data, void* file) = nullptr;
  void (*close)(void* user_data, void* file) = nullptr;
  void* user_data = nullptr;
  bool serial = false;  // never call two of these functions at once
};

class IoSource final : public FileSource {
 public:
  explicit IoSource(const IoCallbacks& callbacks);  // INVALID_ARGUMENT: a required one is null
  std::string description() const override { return "dsv3_io"; }

 private:
  std::unique_ptr<SourceFile> do_open(const std::string& name) override;

  const IoCallbacks callbacks_;
  // Shared with the files, which may outlive the source.
  const std::shared_ptr<std::mutex> mutex_;
};

}  // namespace dsv3
