#include "engine/sequence_table.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "engine/cancel.h"

namespace dsv3 {

SequenceTable::SequenceTable(uint32_t slots)
    : slots_(slots), sequences_(std::make_unique<Sequence[]>(slots)) {
  DSV3_ASSERT(slots <= 1u << kSlotBits);
  by_age_.reserve(slots);
  for (uint32_t slot = 0; slot < slots; ++slot) sequences_[slot].slot = slot;
}

Sequence& SequenceTable::create(SequenceStorage storage) {
  for (uint32_t slot = 0; slot < slots_; ++slot) {
    Sequence& sequence = sequences_[slot];
    if (sequence.id != 0) continue;
    sequence.id = (++last_serial_ << kSlotBits) | slot;
    sequence.storage = std::move(storage);
    by_age_.push_back(slot);
    return sequence;
  }
  fail(Status::kLimit, "sequences: ", by_age_.size(), " exist, at most ", slots_,
       " (sequences_max); destroy one first");
}

SequenceStorage SequenceTable::remove(Sequence& sequence) {
  SequenceStorage storage = std::move(sequence.storage);
  const uint32_t slot = sequence.slot;
  by_age_.erase(std::find(by_age_.begin(), by_age_.end(), slot));
  sequence = Sequence();
  sequence.slot = slot;
  return storage;
}

Sequence* SequenceTable::find(SequenceId id) {
  const uint32_t slot = slot_of(id);
  if (id == 0 || slot >= slots_) return nullptr;
  Sequence& sequence = sequences_[slot];
  return sequence.id == id && !sequence.is_zombie ? &sequence : nullptr;
}

Sequence& SequenceTable::get(SequenceId id) {
  Sequence* sequence = find(id);
  if (sequence == nullptr) {
    fail(Status::kInvalidArgument, "sequence ", id,
         ": no such sequence; wanted an id of a sequence that was created and not destroyed");
  }
  return *sequence;
}

}  // namespace dsv3
