// Goal: inside a scope arithmetic is ours, outside it the host's, bit for bit, sticky flags
// included. Method: set odd modes, compute, compare the control words.
#include "base/fp_env.h"

#include <gtest/gtest.h>

#include <cfenv>

namespace dsv3 {
namespace {

class FpEnv : public testing::Test {
 protected:
  void TearDown() override { fp_env_write(saved_); }

 private:
  const uint64_t saved_ = fp_env_read();
};

TEST_F(FpEnv, ReadsBackWhatWasWritten) {
  const uint64_t before = fp_env_read();
  fp_env_write(fp_env_library());
  EXPECT_EQ(fp_env_read(), fp_env_library());
  fp_env_write(before);
  EXPECT_EQ(fp_env_read(), before);
}

TEST_F(FpEnv, ScopeGivesNearestRoundingAndRestores) {
  std::fesetround(FE_UPWARD);
  const uint64_t host = fp_env_read();
  {
    const FpEnvScope scope;
    EXPECT_EQ(scope.host(), host);
    EXPECT_EQ(std::fegetround(), FE_TONEAREST);
    volatile float one = 1.0f;
    volatile float tiny = 0x1p-30f;
    EXPECT_EQ(one + tiny, 1.0f);
    volatile long double wide = 1.0L;
    volatile long double third = 3.0L;
    wide = wide / third;  // leaves x87's inexact flag
  }
  EXPECT_EQ(fp_env_read(), host);
  EXPECT_EQ(std::fegetround(), FE_UPWARD);
}

TEST_F(FpEnv, OurFlagsDoNotReachAHostThatTraps) {
  // Unmasked exceptions: a flag left by us would end the process at the host's next instruction.
  fp_env_write(fp_env_library());
#if defined(__x86_64__)
  const uint64_t traps = (fp_env_library() & ~uint64_t{0x1f80}) & ~(uint64_t{0x3d} << 32);
#else
  const uint64_t traps = fp_env_library();
#endif
  fp_env_write(traps);
  {
    const FpEnvScope scope;
    volatile float zero = 0.0f;
    volatile float bad = zero / zero;
    volatile long double wide_zero = 0.0L;
    volatile long double wide_bad = 1.0L / wide_zero;
    EXPECT_NE(bad, bad);
    EXPECT_GT(wide_bad, 1e30L);
  }
  EXPECT_EQ(fp_env_read(), traps);
  volatile float half = 0.5f;
  volatile long double wide_half = 0.5L;
  const float sum = half + half;
  const long double wide_sum = wide_half + wide_half;
  fp_env_write(fp_env_library());
  EXPECT_EQ(sum, 1.0f);
  EXPECT_EQ(wide_sum, 1.0L);
}

TEST_F(FpEnv, CallbacksSeeTheHostsSettings) {
  std::fesetround(FE_DOWNWARD);
  const FpEnvScope scope;
  {
    const HostFpEnvScope callback(scope.host());
    EXPECT_EQ(std::fegetround(), FE_DOWNWARD);
  }
  EXPECT_EQ(std::fegetround(), FE_TONEAREST);
}

}  // namespace
}  // namespace dsv3
