// What a pass draws, on its way back to the host while a further pass may be under way.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/allocator.h"
#include "model/pass.h"
#include "ops/device.h"

namespace dsv3 {

class PassResults {
 public:
  // Room for as many passes as may be in flight at once.
  PassResults(Device& device, uint32_t slots);

  static uint64_t bytes(const Device& device, uint32_t slots);

  bool has_room() const { return in_flight_ < ring_.size(); }
  uint32_t in_flight() const { return in_flight_; }
  // Enqueues the copy of `count` results in device memory: the pass that wrote them is in flight.
  void send(const SampleResult* results, uint32_t count);
  // Waits for the oldest pass in flight. Valid until the next call of any function.
  std::span<const SampleResult> wait();

 private:
  struct Entry {
    Block block;  // [slots] SampleResult, host
    std::unique_ptr<Marker> arrived;
    uint32_t count = 0;
  };

  Device& device_;
  std::vector<Entry> ring_;
  size_t oldest_ = 0;
  uint32_t in_flight_ = 0;
};

}  // namespace dsv3
