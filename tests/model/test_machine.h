// A device with its operations, for tests that open a model on several.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "base/thread_pool.h"
#include "cpu/cpu_device.h"
#include "cpu/cpu_ops.h"
#include "model/apart_device.h"

namespace dsv3::testing {

struct TestMachine {
  std::unique_ptr<Device> device;
  std::unique_ptr<Ops> ops;
};

using MachineMaker = std::function<TestMachine(ThreadPool& pool, Allocator& allocator)>;

inline MachineMaker cpu_machine(CpuLevel level = cpu_level_best()) {
  return [level](ThreadPool& pool, Allocator& allocator) {
    return TestMachine{std::make_unique<CpuDevice>(allocator),
                       make_cpu_ops(pool, allocator, level)};
  };
}

inline MachineMaker apart_machine(bool wants_codes = false) {
  return [wants_codes](ThreadPool& pool, Allocator& allocator) {
    auto device = std::make_unique<ApartDevice>();
    auto ops = std::make_unique<ApartOps>(*device, make_cpu_ops(pool, allocator, cpu_level_best()),
                                          wants_codes);
    return TestMachine{std::move(device), std::move(ops)};
  };
}

}  // namespace dsv3::testing
