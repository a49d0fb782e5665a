// Which sequence does an id name? Fixed slots; ids that are never used again.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/sequence.h"

namespace dsv3 {

// Guarded by the engine's lock.
class SequenceTable {
 public:
  explicit SequenceTable(uint32_t slots);

  // LIMIT when all slots are taken.
  Sequence& create(SequenceStorage storage);
  // Frees the slot; the storage is handed out so that it can be released outside the lock.
  SequenceStorage remove(Sequence& sequence);

  // The living sequence of that id, or null.
  Sequence* find(SequenceId id);
  // INVALID_ARGUMENT naming the id.
  Sequence& get(SequenceId id);

  uint32_t slots() const { return slots_; }
  Sequence& at(uint32_t slot) { return sequences_[slot]; }
  // Slots in use, oldest sequence first; zombies are among them.
  std::span<const uint32_t> by_age() const { return by_age_; }

 private:
  const uint32_t slots_;
  const std::unique_ptr<Sequence[]> sequences_;
  std::vector<uint32_t> by_age_;
  uint64_t last_serial_ = 0;
};

}  // namespace dsv3
