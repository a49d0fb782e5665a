// Short pieces: search all pairs for the lowest rank, again after each merge. Long pieces: a heap
// of pairs over a linked list, where outdated entries are recognised when they come up.
#include "text/bpe.h"

#include <algorithm>
#include <functional>

#include "base/error.h"
#include "text/hash.h"

namespace dsv3 {
namespace {

constexpr uint64_t kNoPair = UINT64_MAX;
constexpr uint32_t kNoRank = UINT32_MAX;
constexpr uint32_t kNoSymbol = UINT32_MAX;
constexpr int32_t kDead = -1;
constexpr size_t kShortPieceBytes = 24;  // above it the heap is faster

uint64_t pair_key(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

}  // namespace

Bpe::Bpe(const std::array<int32_t, 256>& byte_ids, const std::vector<BpeMerge>& merges)
    : byte_ids_(byte_ids) {
  for (uint64_t seed = 1; seed <= kHashSeedsMax; ++seed) {
    if (fill_slots(merges, seed)) return;
  }
  fail(Status::kInvalidModel, "tokenizer.json: model.merges: ", merges.size(),
       " pairs collide more than ", kHashProbesMax, " times in the merge table");
}

bool Bpe::fill_slots(const std::vector<BpeMerge>& merges, uint64_t seed) {
  seed_ = hash_mix(seed);
  slots_.assign(hash_slot_count(merges.size()), Slot{kNoPair, kNoRank, 0});
  const size_t mask = slots_.size() - 1;
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const uint64_t key = pair_key(merges[rank].left, merges[rank].right);
    size_t slot = hash_mix(key ^ seed_) & mask;
    for (uint32_t probes = 0; slots_[slot].pair != kNoPair; slot = (slot + 1) & mask) {
      if (slots_[slot].pair == key) {
        fail(Status::kInvalidModel, "tokenizer.json: model.merges[", rank,
             "] repeats model.merges[", slots_[slot].rank, "]");
      }
      if (++probes > kHashProbesMax) return false;
    }
    slots_[slot] = Slot{key, static_cast<uint32_t>(rank), merges[rank].result};
  }
  return true;
}

const Bpe::Slot* Bpe::find(int32_t left, int32_t right) const {
  const uint64_t key = pair_key(left, right);
  const size_t mask = slots_.size() - 1;
  for (size_t slot = hash_mix(key ^ seed_) & mask;; slot = (slot + 1) & mask) {
    if (slots_[slot].pair == key) return &slots_[slot];
    if (slots_[slot].pair == kNoPair) return nullptr;
  }
}

void Bpe::encode_short(std::string_view piece, std::vector<int32_t>& out) const {
  int32_t ids[kShortPieceBytes];
  const Slot* pairs[kShortPieceBytes];  // pairs[i] is the merge of ids[i] and ids[i + 1], or null
  size_t count = piece.size();
  for (size_t i = 0; i < count; ++i) ids[i] = byte_ids_[static_cast<uint8_t>(piece[i])];
  for (size_t i = 0; i + 1 < count; ++i) pairs[i] = find(ids[i], ids[i + 1]);
  for (;;) {
    size_t best = 0;
    uint32_t best_rank = kNoRank;
    for (size_t i = 0; i + 1 < count; ++i) {
      if (pairs[i] != nullptr && pairs[i]->rank < best_rank) {
        best = i;
        best_rank = pairs[i]->rank;
      }
    }
    if (best_rank == kNoRank) break;
    ids[best] = pairs[best]->result;
    std::copy(ids + best + 2, ids + count, ids + best + 1);
    std::copy(pairs + best + 1, pairs + count - 1, pairs + best);
    --count;
    if (best > 0) pairs[best - 1] = find(ids[best - 1], ids[best]);
    if (best + 1 < count) pairs[best] = find(ids[best], ids[best + 1]);
  }
  out.insert(out.end(), ids, ids + count);
}

void Bpe::push_pair(BpeScratch& scratch, uint32_t left_index) const {
  const BpeScratch::Symbol& left = scratch.symbols[left_index];
  if (left.next == kNoSymbol) return;
  const Slot* merge = find(left.id, scratch.symbols[left.next].id);
  if (merge == nullptr) return;
  scratch.heap.push_back(static_cast<uint64_t>(merge->rank) << 32 | left_index);
  std::push_heap(scratch.heap.begin(), scratch.heap.end(), std::greater<>());
}

void Bpe::encode_piece(std::string_view piece, BpeScratch& scratch,
                       std::vector<int32_t>& out) const {
  if (piece.empty()) return;
  if (piece.size() <= kShortPieceBytes) {
    encode_short(piece, out);
    return;
  }
  DSV3_ASSERT(piece.size() < kNoSymbol);
  const auto count = static_cast<uint32_t>(piece.size());
  auto& symbols = scratch.symbols;
  symbols.resize(count);
  for (uint32_t i = 0; i < count; ++i) {
    symbols[i] = {byte_ids_[static_cast<uint8_t>(piece[i])], i == 0 ? kNoSymbol : i - 1,
                  i + 1 == count ? kNoSymbol : i + 1};
  }
  scratch.heap.clear();
  for (uint32_t i = 0; i < count; ++i) push_pair(scratch, i);

  while (!scratch.heap.empty()) {
    const uint64_t top = scratch.heap.front();
    std::pop_heap(scratch.heap.begin(), scratch.heap.end(), std::greater<>());
    scratch.heap.pop_back();
    const auto index = static_cast<uint32_t>(top);
    BpeScratch::Symbol& left = symbols[index];
    if (left.id == kDead || left.next == kNoSymbol) continue;
    BpeScratch::Symbol& right = symbols[left.next];
    const Slot* merge = find(left.id, right.id);
    if (merge == nullptr || merge->rank != static_cast<uint32_t>(top >> 32)) continue;
    left.id = merge->result;
    left.next = right.next;
    right.id = kDead;
    if (left.next != kNoSymbol) symbols[left.next].previous = index;
    if (left.previous != kNoSymbol) push_pair(scratch, left.previous);
    push_pair(scratch, index);
  }
  for (uint32_t i = 0; i != kNoSymbol; i = symbols[i].next) out.push_back(symbols[i].id);
}

}  // namespace dsv3
