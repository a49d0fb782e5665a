// Goal: folder, memory and host callbacks answer alike, and no name leaves the model folder.
// Method: the same files through all three; links, odd names, failing and counting callbacks.
#include "checkpoint/source.h"

#include <unistd.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "checkpoint/build_file.h"
#include "support/expect_error.h"

namespace dsv3 {
namespace {

// A temporary folder "model" beside a folder "blobs".
class FolderFiles : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "dsv3-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    root_ = name;
    model_ = name + "/model";
    std::filesystem::create_directories(model_);
    std::filesystem::create_directories(name + "/blobs");
    std::ofstream(model_ + "/file") << "0123456789";
    std::ofstream(name + "/blobs/hash") << "blob";
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  std::string root_;
  std::string model_;
};

std::string content(SourceFile& file) {
  std::string out(file.size(), '\0');
  file.read(0, reinterpret_cast<std::byte*>(out.data()), out.size());
  return out;
}

// The host's side of dsv3_io over a TestFolder.
struct TestIo {
  TestFolder folder;
  int32_t open_result = 0;
  int32_t size_result = 0;
  int32_t read_result = 0;
  bool maps = true;
  std::atomic<int> open_files{0};
  std::atomic<int> inside{0};
  std::atomic<bool> overlapped{false};

  struct Inside {
    explicit Inside(TestIo& owner) : io(owner) {
      if (io.inside.fetch_add(1) != 0) io.overlapped = true;
    }
    ~Inside() { io.inside.fetch_sub(1); }
    TestIo& io;
  };
  static TestIo& self(void* user_data) { return *static_cast<TestIo*>(user_data); }

  IoCallbacks callbacks() {
    IoCallbacks io;
    io.open = [](void* user_data, const char* name, void** out_file) -> int32_t {
      const Inside scope(self(user_data));
      if (scope.io.open_result != 0) return scope.io.open_result;
      const auto found = scope.io.folder.find(name);
      if (found == scope.io.folder.end()) return 1;
      ++scope.io.open_files;
      *out_file = &found->second;
      return 0;
    };
    io.size = [](void* user_data, void* file, uint64_t* out_bytes) {
      const Inside scope(self(user_data));
      *out_bytes = static_cast<std::string*>(file)->size();
      return scope.io.size_result;
    };
    io.read = [](void* user_data, void* file, uint64_t offset, void* out, uint64_t bytes) {
      const Inside scope(self(user_data));
      std::memcpy(out, static_cast<std::string*>(file)->data() + offset, bytes);
      return scope.io.read_result;
    };
    io.map = [](void* user_data, void* file) -> const void* {
      const Inside scope(self(user_data));
      return scope.io.maps ? static_cast<std::string*>(file)->data() : nullptr;
    };
    io.close = [](void* user_data, void*) {
      const Inside scope(self(user_data));
      --scope.io.open_files;
    };
    io.user_data = this;
    return io;
  }
};

TEST_F(FolderFiles, AllSourcesAgree) {
  TestIo io;
  io.folder = {{"file", "0123456789"}};
  FolderSource folder(model_);
  const auto memory = memory_source(io.folder);
  IoSource host(io.callbacks());
  for (FileSource* const source :
       {static_cast<FileSource*>(&folder), static_cast<FileSource*>(memory.get()),
        static_cast<FileSource*>(&host)}) {
    SCOPED_TRACE(source->description());
    EXPECT_FALSE(source->exists("absent"));
    EXPECT_TRUE(source->exists("file"));
    const auto file = source->open("file");
    ASSERT_NE(file, nullptr);
    EXPECT_EQ(content(*file), "0123456789");
    char part[3];
    file->read(7, reinterpret_cast<std::byte*>(part), 3);
    EXPECT_EQ(std::string(part, 3), "789");
    file->read(10, nullptr, 0);
    ASSERT_NE(file->map(), nullptr);
    EXPECT_EQ(std::memcmp(file->map(), "0123456789", 10), 0);
    file->will_need(0, 100);
    std::byte out[4];
    EXPECT_TRUE(throws_error(Status::kIo, {"file", "4 bytes wanted at byte 7", "10"},
                             [&] { file->read(7, out, 4); }));
    EXPECT_TRUE(
        throws_error(Status::kIo, {"18446744073709551615"}, [&] { file->read(~0ull, out, 2); }));
    EXPECT_TRUE(
        throws_error(Status::kInvalidModel, {"../file", ".."}, [&] { source->open("../file"); }));
  }
}

TEST(FileName, MustBePlain) {
  EXPECT_EQ(file_name_problem("model-00001-of-000163.safetensors"), "");
  EXPECT_EQ(file_name_problem("a..b"), "");
  EXPECT_EQ(file_name_problem("..."), "");
  EXPECT_EQ(file_name_problem("\xc3\xa4"), "");
  EXPECT_NE(file_name_problem("/etc/passwd").find("absolute"), std::string_view::npos);
  EXPECT_NE(file_name_problem("\\\\host\\share").find("absolute"), std::string_view::npos);
  for (const char* const name : {"../x", "a/../x", "a/..", "..\\x", "a\\..\\x"}) {
    EXPECT_NE(file_name_problem(name).find("\"..\""), std::string_view::npos) << name;
  }
  for (const char* const name : {"a/b", "a\\b", "a/"}) {
    EXPECT_NE(file_name_problem(name).find("separator"), std::string_view::npos) << name;
  }
  EXPECT_NE(file_name_problem("..").find("folder"), std::string_view::npos);
  EXPECT_NE(file_name_problem(".").find("folder"), std::string_view::npos);
  EXPECT_NE(file_name_problem("").find("empty"), std::string_view::npos);
  EXPECT_NE(file_name_problem("C:x").find("colon"), std::string_view::npos);
  EXPECT_NE(file_name_problem("a\nb").find("control"), std::string_view::npos);
  EXPECT_NE(file_name_problem(std::string_view("a\0b", 3)).find("control"), std::string_view::npos);
  EXPECT_NE(file_name_problem(std::string(256, 'x')).find("255"), std::string_view::npos);
}

TEST_F(FolderFiles, LinksMayNotLeaveUnlessAllowed) {
  std::filesystem::create_symlink("../blobs/hash", model_ + "/outside");
  std::filesystem::create_symlink("file", model_ + "/inside");
  std::filesystem::create_symlink("../blobs/absent", model_ + "/dangling");
  std::filesystem::create_directory_symlink(model_, root_ + "/link");
  // "model2" begins with "model": a prefix comparison of strings would let it pass.
  std::filesystem::create_directories(root_ + "/model2");
  std::ofstream(root_ + "/model2/x") << "x";
  std::filesystem::create_symlink("../model2/x", model_ + "/neighbour");
  for (const std::string& path : {model_, root_ + "/link", model_ + "/"}) {
    FolderSource strict(path);
    EXPECT_EQ(content(*strict.open("inside")), "0123456789");
    EXPECT_EQ(strict.open("dangling"), nullptr);
    for (const char* const name : {"outside", "neighbour"}) {
      EXPECT_TRUE(throws_error(Status::kInvalidModel, {name, "link", "outside", "follow_links"},
                               [&] { strict.open(name); }));
    }
    FolderSource following(path, true);
    EXPECT_EQ(content(*following.open("outside")), "blob");
  }
}

TEST_F(FolderFiles, FolderMustBeOne) {
  EXPECT_TRUE(
      throws_error(Status::kIo, {"absent", "no such"}, [&] { FolderSource(model_ + "/absent"); }));
  EXPECT_TRUE(throws_error(Status::kIo, {"not a folder"}, [&] { FolderSource(model_ + "/file"); }));
  std::filesystem::create_directories(model_ + "/sub");
  FolderSource folder(model_);
  EXPECT_TRUE(throws_error(Status::kIo, {"sub", "is a folder"}, [&] { folder.open("sub"); }));
}

TEST(MemorySource, RefusesBadLists) {
  const MemoryFile twice[] = {{"a", "x", 1}, {"b", "x", 1}, {"a", "y", 1}};
  EXPECT_TRUE(
      throws_error(Status::kInvalidArgument, {"\"a\"", "twice"}, [&] { MemorySource{twice}; }));
  const MemoryFile null[] = {{"a", nullptr, 1}};
  EXPECT_TRUE(
      throws_error(Status::kInvalidArgument, {"\"a\"", "null"}, [&] { MemorySource{null}; }));
  const MemoryFile path[] = {{"a/b", "x", 1}};
  EXPECT_TRUE(throws_error(Status::kInvalidArgument, {"separator"}, [&] { MemorySource{path}; }));
  const MemoryFile empty[] = {{"a", nullptr, 0}};
  EXPECT_NE(MemorySource(empty).open("a")->map(), nullptr);
}

TEST(IoSource, ReportsEveryCallbacksFailureAndCloses) {
  TestIo io;
  io.folder = {{"file", "0123456789"}};
  IoSource source(io.callbacks());
  std::byte out[4];
  io.open_result = 5;
  EXPECT_TRUE(throws_error(Status::kIo, {"file", "open returned 5"}, [&] { source.open("file"); }));
  io.open_result = 0;
  io.size_result = -3;
  EXPECT_TRUE(throws_error(Status::kIo, {"size returned -3"}, [&] { source.open("file"); }));
  EXPECT_EQ(io.open_files, 0);
  io.size_result = 0;
  {
    const auto file = source.open("file");
    io.read_result = 7;
    EXPECT_TRUE(throws_error(Status::kIo, {"read of 4 bytes at byte 2 returned 7"},
                             [&] { file->read(2, out, 4); }));
    io.maps = false;
    EXPECT_EQ(file->map(), nullptr);
    EXPECT_EQ(io.open_files, 1);
  }
  EXPECT_EQ(io.open_files, 0);
  IoCallbacks half = io.callbacks();
  half.read = nullptr;
  EXPECT_TRUE(throws_error(Status::kInvalidArgument, {"null"}, [&] { IoSource{half}; }));
  IoCallbacks no_map = io.callbacks();
  no_map.map = nullptr;
  EXPECT_EQ(IoSource(no_map).open("file")->map(), nullptr);
}

TEST(IoSource, SerialCallbacksNeverOverlap) {
  TestIo io;
  io.folder = {{"a", std::string(1000, 'a')}, {"b", std::string(1000, 'b')}};
  IoCallbacks callbacks = io.callbacks();
  callbacks.serial = true;
  IoSource source(callbacks);
  const auto a = source.open("a");
  const auto b = source.open("b");
  std::vector<std::thread> threads;
  for (SourceFile* const file : {a.get(), b.get(), a.get()}) {
    threads.emplace_back([file] {
      for (int i = 0; i < 300; ++i) EXPECT_EQ(content(*file).size(), 1000u);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(io.overlapped);
}

}  // namespace
}  // namespace dsv3
