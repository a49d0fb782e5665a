// Goal: a host that uses GPUs itself finds the driver's context of its thread as it left it after
// every call, also after one that failed and after destroy. Method: load, generate and destroy from
// a thread in no context, in one of a device, and in one of its own.
#include "cuda/gpu_runtime.h"
#include "gpu/gpu_fixture.h"

namespace dsv3::gpu_test {
namespace {

const std::string kTiny = DSV3_GOLDEN_DIR "/bf16_shards";

void* current() {
  void* context = nullptr;
  EXPECT_EQ(gpu::current_context(&context), 0);
  return context;
}

void* context_of_device(int ordinal) {
  EXPECT_EQ(gpu::use_device(ordinal), 0);
  return current();
}

class GpuGuest : public ::testing::Test {
 protected:
  void SetUp() override { before_ = current(); }
  void TearDown() override { EXPECT_EQ(gpu::set_current_context(before_), 0); }

  // The thread is in `host` whenever a call has ended.
  static void expect_unchanged(void* host) {
    ASSERT_EQ(gpu::set_current_context(host), 0);
    Context context = create(kTiny, {});
    EXPECT_EQ(current(), host);
    dsv3_plan plan{};
    plan.struct_size = sizeof(plan);
    EXPECT_EQ(dsv3_context_plan(context.get(), &plan), DSV3_OK) << message_of(context.get());
    EXPECT_EQ(current(), host);
    int32_t is_done = 0;
    while (is_done == 0) {
      ASSERT_EQ(dsv3_context_load(context.get(), 1, &is_done), DSV3_OK)
          << message_of(context.get());
      ASSERT_EQ(current(), host);
    }
    Generated out;
    const dsv3_generate_options options = options_of(3, &out);
    const dsv3_sequence sequence = start(context.get(), {1, 2, 3});
    EXPECT_EQ(dsv3_generate(context.get(), sequence, &options, nullptr), DSV3_OK);
    EXPECT_EQ(current(), host);
    EXPECT_EQ(dsv3_generate(context.get(), 12345, &options, nullptr), DSV3_INVALID_ARGUMENT);
    EXPECT_EQ(current(), host);
    context.reset();
    EXPECT_EQ(current(), host);
  }

 private:
  void* before_ = nullptr;
};

TEST_F(GpuGuest, NoContextStaysNone) { expect_unchanged(nullptr); }

TEST_F(GpuGuest, ADevicesContextStays) {
  std::string why_none;
  const int devices = gpu::device_count(&why_none);
  for (int ordinal = 0; ordinal < devices; ++ordinal) expect_unchanged(context_of_device(ordinal));
}

// On a real GPU such a context is made with libcuda, which no test links.
TEST_F(GpuGuest, AContextOfItsOwnStays) {
  if (!is_emulated()) GTEST_SKIP() << "needs libcuda";
  int own = 0;
  expect_unchanged(&own);
}

TEST_F(GpuGuest, AFailedLoadLeavesItAlone) {
  void* const host = context_of_device(0);
  const Context context = create(kTiny, {.bytes_max = 1});
  EXPECT_NE(dsv3_context_load(context.get(), 0, nullptr), DSV3_OK);
  EXPECT_EQ(current(), host);
}

// A context on the CPU asks no driver.
TEST_F(GpuGuest, TheCpuDoesNotTouchIt) {
  ASSERT_EQ(gpu::set_current_context(nullptr), 0);
  const Context context = open(kTiny, {.kind = DSV3_DEVICE_CPU});
  EXPECT_EQ(current(), nullptr);
}

}  // namespace
}  // namespace dsv3::gpu_test
