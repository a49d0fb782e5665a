#include "model/pass_results.h"

#include "base/checked.h"

namespace dsv3 {

PassResults::PassResults(Device& device, uint32_t slots) : device_(device) {
  for (uint32_t i = 0; i <= device.passes_ahead(); ++i) {
    ring_.push_back({.block = device.allocate_host(slots * sizeof(SampleResult), "results"),
                     .arrived = device.make_marker()});
  }
}

uint64_t PassResults::bytes(const Device& device, uint32_t slots) {
  return (uint64_t{device.passes_ahead()} + 1) * slots * sizeof(SampleResult);
}

void PassResults::send(const SampleResult* results, uint32_t count) {
  DSV3_ASSERT(has_room());
  Entry& entry = ring_[(oldest_ + in_flight_) % ring_.size()];
  DSV3_ASSERT(count * sizeof(SampleResult) <= entry.block.bytes());
  entry.count = count;
  device_.copy_to_host(entry.block.data(), results, count * sizeof(SampleResult));
  device_.mark(*entry.arrived);
  ++in_flight_;
}

std::span<const SampleResult> PassResults::wait() {
  DSV3_ASSERT(in_flight_ > 0);
  Entry& entry = ring_[oldest_];
  // Over even if the device fails now: it will say so again.
  oldest_ = (oldest_ + 1) % ring_.size();
  --in_flight_;
  device_.wait(*entry.arrived);
  return {reinterpret_cast<const SampleResult*>(entry.block.data()), entry.count};
}

}  // namespace dsv3
