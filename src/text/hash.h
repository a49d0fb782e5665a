// How are keys from files spread over hash tables? Searches are bounded: a file made to collide is
// noticed while its table is built.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace dsv3 {

// A table that needs a longer search than this is built again with the next seed, so often.
constexpr uint32_t kHashProbesMax = 256;
constexpr uint64_t kHashSeedsMax = 4;

// The finaliser of the splitmix64 generator.
inline uint64_t hash_mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31);
}

inline uint64_t hash_bytes(std::string_view bytes, uint64_t seed) {
  uint64_t h = seed ^ (bytes.size() * 0x9E3779B97F4A7C15U);
  while (bytes.size() >= 8) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data(), 8);
    h = hash_mix(h ^ word);
    bytes.remove_prefix(8);
  }
  uint64_t rest = 0;
  std::memcpy(&rest, bytes.data(), bytes.size());
  return hash_mix(h ^ rest);
}

// Slots for `count` keys: a power of two, at least twice as many.
inline size_t hash_slot_count(size_t count) {
  size_t slots = 16;
  while (slots < 2 * count) slots *= 2;
  return slots;
}

}  // namespace dsv3
