// What happens when a GPU refuses memory, dies or is not there? Faults on demand on the emulated
// GPUs; whatever happens, nothing may be left behind.
#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "base/error.h"
#include "cuda/cuda_device.h"
#include "cuda/device_fixture.h"
#include "emulation/emulator.h"
#include "support/expect_error.h"

namespace dsv3::cuda_test {
namespace {

class EmulatedFaults : public ::testing::Test {
 protected:
  EmulatedFaults() { emulator::reset(); }
  ~EmulatedFaults() override {
    EXPECT_EQ(emulator::live_bytes(0), 0u);
    EXPECT_EQ(emulator::live_allocations(), 0u);
    EXPECT_EQ(emulator::live_objects(), 0u);
    emulator::reset();
  }

  Allocator host_{{}, 0};
};

// The error that fn throws; OK when it throws none.
template <typename Fn>
Error error_of(const Fn& fn) {
  try {
    fn();
  } catch (const Error& error) {
    return error;
  }
  return Error(Status::kOk, "nothing was thrown");
}

TEST_F(EmulatedFaults, AFullDeviceRefusesAndGoesOn) {
  emulator::set_memory(1 << 20);
  CudaDevice device({}, host_);
  EXPECT_TRUE(throws_error(Status::kOutOfMemory, {"latent cache: 2097152 bytes"},
                           [&] { device.allocate(2 << 20, "latent cache"); }));
  const Block block = device.allocate(1 << 19, "half of it");
  const auto bytes = numbered(100);
  device.copy_to_device(block.data(), bytes.data(), 100);
  EXPECT_EQ(read_back(device, block.data(), 100), bytes);
}

// Everything a load takes, with each allocation failing once: nothing is left behind, and the next
// try works on the same device.
TEST_F(EmulatedFaults, AnyAllocationMayFail) {
  OpsLimits limits = ops_test::test_limits();
  uint32_t failures = 0;
  for (uint32_t nth = 1;; ++nth) {
    emulator::fail_allocation(nth);
    const auto load = [&] {
      CudaMachine machine = make_cuda_machine({}, host_);
      const Shape shape{4, 4};
      const auto file = numbered(64);
      const auto try_all = [&] {
        const Block memory =
            machine.device->allocate(machine.device->weight_bytes(shape, DType::kF32), "weights");
        const Weight weight = machine.device->place(shape, DType::kF32, memory.data());
        machine.device->upload(weight, 0, file.data(), file.size());
        machine.ops->reserve(limits);
        const Block host = machine.device->allocate_host(100, "results");
        expect_rows(*machine.device, weight, file);
      };
      const Error error = error_of(try_all);
      if (error.status() == Status::kOk) return true;
      EXPECT_EQ(error.status(), Status::kOutOfMemory) << error.message();
      ++failures;
      try_all();
      return false;
    };
    if (load()) break;
    EXPECT_EQ(emulator::live_allocations(), 0u);
    EXPECT_EQ(emulator::live_objects(), 0u);
  }
  EXPECT_EQ(failures, 4u);  // weights, staging, scratch, results
}

TEST_F(EmulatedFaults, ALostDeviceKeepsItsFirstCauseAndHarmsNobodyElse) {
  Copying other(1, host_);
  {
    Copying copying(0, host_);
    const auto recording = copying.device().record([&] { copying.enqueue(); });
    const auto marker = copying.device().make_marker();
    emulator::fail_launch(1);
    const Error first = error_of([&] {
      copying.enqueue();
      copying.device().synchronize();
    });
    EXPECT_EQ(first.status(), Status::kDeviceLost) << first.message();
    EXPECT_EQ(first.message().rfind("cuda 0 is lost, first cause: ", 0), 0u) << first.message();
    const std::vector<std::function<void()>> calls = {
        [&] { copying.enqueue(); },
        [&] { copying.device().synchronize(); },
        [&] { copying.device().allocate(1, "more"); },
        [&] { copying.device().allocate_host(1, "more"); },
        [&] { copying.device().replay(*recording); },
        [&] { copying.device().mark(*marker); },
        [&] { copying.device().wait(*marker); },
        [&] { copying.device().record([] {}); },
        [&] { copying.result(); },
    };
    for (const auto& call : calls) {
      EXPECT_TRUE(throws_error(Status::kDeviceLost, {first.message()}, call));
    }
  }
  other.set(4.0f);
  other.enqueue();
  EXPECT_EQ(other.result(), 4.0f);
  ops_test::OpsBox cpu({CpuLevel::kScalar, 1});
  ops_test::Matrix x(DType::kF32, 1, 4);
  x.set(0, 3, 2.5);
  ops_test::Matrix out(DType::kF32, 1, 4);
  cpu.ops->copy_rows(
      {.x = x.rows(), .x_rows = nullptr, .out = out.rows(), .out_rows = nullptr, .count = 1});
  EXPECT_TRUE(out.same_bits(x));
}

// Whoever waits for the whole GPU on another thread ends a recording: it is made again, and in the
// end done without.
TEST_F(EmulatedFaults, ADisturbedRecordingIsNoLostDevice) {
  Copying copying(0, host_);
  const auto record = [&] { return copying.device().record([&] { copying.enqueue(); }); };
  emulator::disturb_recordings(100);
  EXPECT_EQ(record(), nullptr);
  emulator::disturb_recordings(1);
  const auto recording = record();
  ASSERT_NE(recording, nullptr);
  copying.set(6.0f);
  copying.device().replay(*recording);
  EXPECT_EQ(copying.result(), 6.0f);
}

TEST_F(EmulatedFaults, SaysWhyThereIsNoDevice) {
  const auto make = [&](int ordinal) {
    return [&, ordinal] { CudaDevice device({.ordinal = ordinal}, host_); };
  };
  EXPECT_TRUE(
      throws_error(Status::kUnsupported, {"device cuda 2: this machine has 2 GPUs"}, make(2)));
  EXPECT_TRUE(throws_error(Status::kUnsupported, {"wanted an ordinal of 0 to 1"}, make(-1)));
  emulator::set_capability(7, 5);
  EXPECT_TRUE(throws_error(Status::kUnsupported,
                           {"has compute capability 7.5, wanted 8.0 or newer"}, make(0)));
  emulator::set_device_count(0);
  std::string why_none;
  EXPECT_EQ(gpu::device_count(&why_none), 0);
  EXPECT_NE(why_none, "");
  EXPECT_TRUE(throws_error(Status::kUnsupported, {"device cuda: ", why_none}, make(0)));
}

TEST_F(EmulatedFaults, RefusesCodesWithoutFp8Units) {
  emulator::set_capability(8, 6);
  EXPECT_NO_THROW(make_cuda_machine({}, host_));
  EXPECT_TRUE(throws_error(
      Status::kUnsupported, {"activation_quant 1x128", "8.6, wanted 8.9 or newer"},
      [&] { make_cuda_machine({.activation_quant = ActivationQuant::k1x128}, host_); }));
  emulator::set_capability(8, 9);
  EXPECT_NO_THROW(make_cuda_machine({.activation_quant = ActivationQuant::k1x128}, host_));
}

}  // namespace
}  // namespace dsv3::cuda_test
