// Goal: files read and map exactly, and everything that is no regular file is refused without
// hanging. Method: a temporary folder with a file, a folder, a pipe and links.
#include "base/platform.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/clock.h"
#include "support/expect_error.h"

namespace dsv3 {
namespace {

class Platform : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "dsv3-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name + "/";
    std::ofstream(folder_ + "file") << "0123456789";
    std::ofstream(folder_ + "empty").flush();
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string folder_;
};

TEST_F(Platform, ReadsAndMaps) {
  const auto file = platform_open(folder_ + "file");
  ASSERT_NE(file, nullptr);
  EXPECT_EQ(file->size(), 10u);
  char text[4];
  file->read(3, reinterpret_cast<std::byte*>(text), 4);
  EXPECT_EQ(std::string(text, 4), "3456");
  EXPECT_EQ(std::memcmp(file->map(), "0123456789", 10), 0);
  EXPECT_EQ(file->map(), file->map());
  file->will_need(5, 1000);
  file->will_need(~0ull, ~0ull);
  EXPECT_TRUE(throws_error(Status::kIo, {"file", "4 bytes wanted at byte 7", "10"},
                           [&] { file->read(7, reinterpret_cast<std::byte*>(text), 4); }));
  EXPECT_TRUE(throws_error(Status::kIo, {"18446744073709551615"},
                           [&] { file->read(~0ull, reinterpret_cast<std::byte*>(text), 4); }));
}

TEST_F(Platform, EmptyFileMapsToSomething) {
  const auto file = platform_open(folder_ + "empty");
  ASSERT_NE(file, nullptr);
  EXPECT_EQ(file->size(), 0u);
  EXPECT_NE(file->map(), nullptr);
}

TEST_F(Platform, AFileThatShrinksIsAnError) {
  const auto file = platform_open(folder_ + "file");
  ASSERT_EQ(truncate((folder_ + "file").c_str(), 5), 0);
  std::byte bytes[10];
  EXPECT_TRUE(
      throws_error(Status::kIo, {"ends at byte 5", "10"}, [&] { file->read(0, bytes, 10); }));
}

TEST_F(Platform, RefusesWhatIsNoFile) {
  EXPECT_EQ(platform_open(folder_ + "absent"), nullptr);
  EXPECT_EQ(platform_open(folder_ + "file/below"), nullptr);
  EXPECT_TRUE(throws_error(Status::kIo, {"is a folder"}, [&] { platform_open(folder_); }));
  ASSERT_EQ(mkfifo((folder_ + "pipe").c_str(), 0600), 0);
  EXPECT_TRUE(throws_error(Status::kIo, {"pipe"}, [&] { platform_open(folder_ + "pipe"); }));
  EXPECT_TRUE(throws_error(Status::kIo, {"device"}, [] { platform_open("/dev/zero"); }));
  ASSERT_EQ(symlink("loop", (folder_ + "loop").c_str()), 0);
  EXPECT_TRUE(throws_error(Status::kIo, {"loop"}, [&] { platform_open(folder_ + "loop"); }));
  EXPECT_TRUE(throws_error(Status::kIo, {"NUL"},
                           [&] { platform_open(folder_ + std::string("file\0x", 6)); }));
}

TEST_F(Platform, ResolvesLinks) {
  ASSERT_EQ(symlink("file", (folder_ + "link").c_str()), 0);
  ASSERT_EQ(symlink("absent", (folder_ + "dangling").c_str()), 0);
  EXPECT_EQ(platform_real_path(folder_ + "link"), platform_real_path(folder_ + "file"));
  EXPECT_EQ(platform_real_path(folder_ + "dangling"), std::nullopt);
  EXPECT_TRUE(platform_is_directory(folder_));
  EXPECT_FALSE(platform_is_directory(folder_ + "file"));
  EXPECT_FALSE(platform_is_directory(folder_ + "absent"));
}

TEST(PlatformMachine, HasProcessorsAndTime) {
  EXPECT_GE(platform_processor_count(), 1u);
  SteadyClock clock;
  const uint64_t begin = clock.now_us();
  usleep(2000);
  const uint64_t took = clock.now_us() - begin;
  EXPECT_GE(took, 2000u);
  EXPECT_LT(took, 60000000u);
}

}  // namespace
}  // namespace dsv3
