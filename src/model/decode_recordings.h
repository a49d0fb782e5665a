// Small decode passes, recorded once for each row count and replayed ever after (design §4); and
// the made-up passes they are recorded from.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "model/pass.h"
#include "ops/device.h"

namespace dsv3 {

class DecodeRecordings {
 public:
  // Rows of the largest pass worth a recording: beyond, launches are no longer what costs.
  static constexpr uint32_t kRowsMax = 16;

  // None where the device runs no pass ahead.
  DecodeRecordings(const Device& device, const PassLimits& limits);

  // Row count to be recorded next, 0 when nothing is left.
  uint32_t next_rows() const;
  // The recording of next_rows(); null: this device makes none, and nothing is left.
  void add(std::unique_ptr<Recording> recording);
  // Null: not recorded.
  Recording* find(uint32_t rows) const;

 private:
  uint32_t rows_max_;
  std::vector<std::unique_ptr<Recording>> recordings_;  // of 1, 2, ... rows
};

// `rows` sequences of one token each at `position`, which all draw. Contents are any that are
// legal.
class WarmUpInput {
 public:
  WarmUpInput(const PassLimits& limits, uint32_t rows, uint32_t position, AttentionForm form);
  WarmUpInput(const WarmUpInput&) = delete;
  WarmUpInput& operator=(const WarmUpInput&) = delete;
  PassInput view() const { return {.spans = spans_, .samples = samples_}; }

 private:
  int32_t token_ = 0;
  std::vector<int32_t> pages_;
  std::vector<PassSpan> spans_;
  std::vector<PassSample> samples_;
};

}  // namespace dsv3
