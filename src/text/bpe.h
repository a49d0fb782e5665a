// Which ids does one piece become? Byte-level BPE: the lowest-ranked adjacent pair merges first,
// leftmost on ties.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace dsv3 {

struct BpeMerge {
  int32_t left;
  int32_t right;
  int32_t result;
};

// Working memory of one encode call: reused from piece to piece, never shared between threads.
struct BpeScratch {
  struct Symbol {
    int32_t id;  // kDead after it was merged into its left neighbour
    uint32_t previous;
    uint32_t next;
  };
  std::vector<Symbol> symbols;
  std::vector<uint64_t> heap;  // rank << 32 | index of the left symbol
};

// Immutable after construction.
class Bpe {
 public:
  Bpe() = default;
  // Merges in rank order. INVALID_MODEL when a pair occurs twice, or when the pairs are chosen such
  // that no table holds them with short searches (only a hostile file does that).
  Bpe(const std::array<int32_t, 256>& byte_ids, const std::vector<BpeMerge>& merges);

  // Appends the ids of one piece: O(n log n) in its bytes, whatever they are.
  void encode_piece(std::string_view piece, BpeScratch& scratch, std::vector<int32_t>& out) const;

 private:
  struct Slot {
    uint64_t pair;  // left << 32 | right; kNoPair when empty
    uint32_t rank;
    int32_t result;
  };

  bool fill_slots(const std::vector<BpeMerge>& merges, uint64_t seed);
  const Slot* find(int32_t left, int32_t right) const;
  void encode_short(std::string_view piece, std::vector<int32_t>& out) const;
  void push_pair(BpeScratch& scratch, uint32_t left_index) const;

  std::array<int32_t, 256> byte_ids_{};
  std::vector<Slot> slots_;  // open addressing, a power of two, at most half full
  uint64_t seed_ = 0;
};

}  // namespace dsv3
