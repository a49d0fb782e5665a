#include "model/decode_recordings.h"

#include <algorithm>
#include <utility>

#include "base/checked.h"

namespace dsv3 {

DecodeRecordings::DecodeRecordings(const Device& device, const PassLimits& limits)
    : rows_max_(device.passes_ahead() == 0 ? 0
                                           : std::min({kRowsMax, limits.slots, limits.rows_max})) {}

uint32_t DecodeRecordings::next_rows() const {
  const auto done = static_cast<uint32_t>(recordings_.size());
  return done < rows_max_ ? done + 1 : 0;
}

void DecodeRecordings::add(std::unique_ptr<Recording> recording) {
  DSV3_ASSERT(next_rows() != 0);
  if (recording == nullptr) {
    rows_max_ = static_cast<uint32_t>(recordings_.size());
  } else {
    recordings_.push_back(std::move(recording));
  }
}

Recording* DecodeRecordings::find(uint32_t rows) const {
  return rows == 0 || rows > recordings_.size() ? nullptr : recordings_[rows - 1].get();
}

WarmUpInput::WarmUpInput(const PassLimits& limits, uint32_t rows, uint32_t position,
                         AttentionForm form)
    : pages_(position / kPageTokens + 1), spans_(rows), samples_(rows) {
  DSV3_ASSERT(rows <= limits.slots && rows <= limits.rows_max && position < limits.positions_max);
  for (uint32_t slot = 0; slot < rows; ++slot) {
    spans_[slot] = {.slot = slot,
                    .form = form,
                    .position_begin = position,
                    .tokens = {&token_, 1},
                    .pages = pages_};
    samples_[slot].slot = slot;
    samples_[slot].row.position = position + 1;
  }
}

}  // namespace dsv3
