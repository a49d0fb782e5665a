// Goal: both merge loops do what the definition says. Method: random merge tables over four letters
// against a direct transcription of the definition, with pieces on both sides of the switch.
#include "text/bpe.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>

namespace dsv3 {
namespace {

using Ids = std::vector<int32_t>;

Ids merge_slowly(Ids ids, const std::vector<BpeMerge>& merges) {
  std::map<std::pair<int32_t, int32_t>, size_t> ranks;
  for (size_t i = 0; i < merges.size(); ++i) ranks[{merges[i].left, merges[i].right}] = i;
  for (;;) {
    size_t best = merges.size();
    size_t where = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto it = ranks.find({ids[i], ids[i + 1]});
      if (it != ranks.end() && it->second < best) {
        best = it->second;
        where = i;
      }
    }
    if (best == merges.size()) return ids;
    ids[where] = merges[best].result;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(where) + 1);
  }
}

TEST(Bpe, EqualsTheDefinitionOnRandomTables) {
  std::mt19937 random(4);
  std::array<int32_t, 256> byte_ids{};
  for (int32_t i = 0; i < 256; ++i) byte_ids[static_cast<size_t>(i)] = i;
  for (int table = 0; table < 40; ++table) {
    std::vector<BpeMerge> merges;
    std::map<std::pair<int32_t, int32_t>, bool> seen;
    std::vector<int32_t> symbols{'a', 'b', 'c', 'd'};
    for (int32_t i = 0; i < 40; ++i) {
      const int32_t left = symbols[random() % symbols.size()];
      const int32_t right = symbols[random() % symbols.size()];
      if (seen[{left, right}]) continue;
      seen[{left, right}] = true;
      symbols.push_back(1000 + i);
      // Ranks are not in the order of the ids, and results may be reached by several ways.
      merges.insert(merges.begin() + static_cast<std::ptrdiff_t>(random() % (merges.size() + 1)),
                    BpeMerge{left, right, symbols[4 + random() % (symbols.size() - 4)]});
    }
    const Bpe bpe(byte_ids, merges);
    BpeScratch scratch;
    for (int round = 0; round < 50; ++round) {
      std::string piece;
      Ids bytes;
      for (size_t n = random() % 80; n > 0; --n) {
        piece.push_back(static_cast<char>('a' + random() % (round % 2 == 0 ? 2 : 4)));
        bytes.push_back(piece.back());
      }
      Ids ids;
      bpe.encode_piece(piece, scratch, ids);
      ASSERT_EQ(ids, merge_slowly(bytes, merges)) << piece;
    }
  }
}

}  // namespace
}  // namespace dsv3
