// Children are short lists: the tokens of one checkpoint share nearly all of their beginnings.
#include "text/added_tokens.h"

namespace dsv3 {
namespace {

constexpr uint32_t kNone = UINT32_MAX;

}  // namespace

AddedTokenFinder::AddedTokenFinder() : roots_{} { roots_.fill(kNone); }

uint32_t AddedTokenFinder::child(uint32_t node, uint8_t byte) const {
  uint32_t at = nodes_[node].first_child;
  while (at != kNone && nodes_[at].byte != byte) at = nodes_[at].next_sibling;
  return at;
}

void AddedTokenFinder::add(std::string_view text, int32_t id) {
  const auto first = static_cast<uint8_t>(text[0]);
  uint32_t node = roots_[first];
  if (node == kNone) {
    node = static_cast<uint32_t>(nodes_.size());
    roots_[first] = node;
    nodes_.push_back({first, -1, kNone, kNone});
  }
  for (size_t i = 1; i < text.size(); ++i) {
    const auto byte = static_cast<uint8_t>(text[i]);
    uint32_t next = child(node, byte);
    if (next == kNone) {
      next = static_cast<uint32_t>(nodes_.size());
      nodes_.push_back({byte, -1, kNone, nodes_[node].first_child});
      nodes_[node].first_child = next;
    }
    node = next;
  }
  nodes_[node].id = id;
}

AddedTokenFinder::Match AddedTokenFinder::find(std::string_view text, size_t from) const {
  for (size_t begin = from; begin < text.size(); ++begin) {
    uint32_t node = roots_[static_cast<uint8_t>(text[begin])];
    Match best{begin, begin, -1};
    for (size_t at = begin; node != kNone;) {
      ++at;
      if (nodes_[node].id >= 0) best = {begin, at, nodes_[node].id};
      if (at == text.size()) break;
      node = child(node, static_cast<uint8_t>(text[at]));
    }
    if (best.end > begin) return best;
  }
  return {text.size(), text.size(), -1};
}

}  // namespace dsv3
