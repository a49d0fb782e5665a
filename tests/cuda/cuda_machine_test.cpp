// Does the one door to the GPU give a machine that describes itself, measures what it takes and
// refuses what the device cannot do?
#include "cuda/cuda_machine.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "cuda/gpu_runtime.h"
#include "ops/ops_fixture.h"
#include "support/expect_error.h"

namespace dsv3 {
namespace {

class CudaMachineTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string why_none;
    if (gpu::device_count(&why_none) == 0) GTEST_SKIP() << why_none;
    ASSERT_EQ(gpu::properties(0, &found_), 0);
    has_fp8_ = found_.major * 10 + found_.minor >= 89;
  }
  gpu::Properties found_;
  bool has_fp8_ = false;
  Allocator host_{{}, 0};
};

TEST_F(CudaMachineTest, DescribesItself) {
  const CudaMachine machine = make_cuda_machine({}, host_);
  EXPECT_EQ(machine.device->description(), "cuda 0: " + found_.name);
  EXPECT_EQ(machine.ops->description(),
            str("cuda sm_", found_.major, found_.minor, ", ", found_.name, ", ",
                found_.multiprocessors, " multiprocessors, activation_quant none"));
  EXPECT_FALSE(machine.ops->wants_codes());
  EXPECT_EQ(std::string(cuda_build_text()), gpu::backend_name());
  if (!has_fp8_) return;
  const CudaMachine codes = make_cuda_machine({.activation_quant = ActivationQuant::k1x128}, host_);
  EXPECT_NE(codes.ops->description().find("activation_quant 1x128"), std::string::npos);
  EXPECT_TRUE(codes.ops->wants_codes());
}

TEST_F(CudaMachineTest, ScratchIsWhatWasMeasured) {
  for (const ActivationQuant quant : {ActivationQuant::kNone, ActivationQuant::k1x128}) {
    if (quant == ActivationQuant::k1x128 && !has_fp8_) continue;
    CudaMachine machine = make_cuda_machine({.activation_quant = quant}, host_);
    OpsLimits limits = ops_test::test_limits();
    const uint64_t measured = machine.ops->scratch_bytes(limits);
    EXPECT_GT(measured, 0u);
    machine.ops->reserve(limits);
    EXPECT_EQ(machine.memory->bytes_held(), measured);
    limits.rows_max *= 2;
    EXPECT_GE(machine.ops->scratch_bytes(limits), measured);
  }
}

// A refused reserve leaves the scratch memory that was there.
TEST_F(CudaMachineTest, ARefusedReserveChangesNothing) {
  OpsLimits limits = ops_test::test_limits();
  const uint64_t wanted = make_cuda_machine({}, host_).ops->scratch_bytes(limits);
  CudaMachine machine = make_cuda_machine({.ceiling_bytes = wanted + wanted / 2}, host_);
  machine.ops->reserve(limits);
  limits.rows_max *= 2;
  EXPECT_TRUE(throws_error(Status::kLimit, {"scratch memory of the GPU"},
                           [&] { machine.ops->reserve(limits); }));
  EXPECT_EQ(machine.memory->bytes_held(), wanted);
}

}  // namespace
}  // namespace dsv3
