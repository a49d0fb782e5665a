// Goal: files read and map exactly, and everything that is no regular file is refused without
// hanging. Method: a temporary folder with a file, a folder, a pipe and links.
#include "base/platform.h"

#include <sys/resource.h>
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

int64_t minor_faults() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt;
}

TEST_F(Platform, ReadingTouchedMappingsTakesNoFaults) {
  constexpr uint64_t kBytes = (16u << 20) + 1234;
  std::ofstream(folder_ + "large") << std::string(kBytes, 'x');
  const auto file = platform_open(folder_ + "large");
  const std::byte* const data = file->map();
  platform_touch_mapped(data + 100, 0);
  platform_touch_mapped(data + 100, kBytes - 100);
  [[maybe_unused]] const int64_t before = minor_faults();
  uint64_t others = 0;
  for (uint64_t at = 0; at < kBytes; at += 64) others += data[at] != std::byte{'x'} ? 1 : 0;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // their shadows fault, too
  EXPECT_LT(minor_faults() - before, 4);  // untouched: 9 in pages of 2 MiB, 257 and more in others
#endif
  EXPECT_EQ(others, 0u);
}

TEST_F(Platform, ResidentMemoryTakesNoFaultsAndKeepsItsContents) {
  constexpr uint64_t kBytes = 8u << 20;
  auto* const block = static_cast<std::byte*>(platform_aligned_allocate(kBytes, 64));
  ASSERT_NE(block, nullptr);
  block[7] = std::byte{7};
  platform_make_resident(block, 0);
  platform_make_resident(block, kBytes);
  [[maybe_unused]] const int64_t before = minor_faults();
  for (uint64_t at = 64; at < kBytes; at += 64) block[at] = std::byte{1};
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_LT(minor_faults() - before, 64);  // not resident: 2,048
#endif
  EXPECT_EQ(block[7], std::byte{7});
  platform_aligned_release(block);
  EXPECT_GT(platform_memory_bytes(), kBytes);
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
