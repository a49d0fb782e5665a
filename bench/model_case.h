// Which runs are asked for? One case is one prompt length or one decode, at a context, a batch and
// a thread count.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dsv3::bench {

struct ModelCase {
  uint32_t prompt = 0;   // tokens of the prompt that is timed; 0: decode is timed
  uint32_t context = 0;  // tokens that are in the cache before
  uint32_t batch = 1;    // sequences
  uint32_t threads = 0;  // 0 = one per processor
  uint32_t tokens = 64;  // decode: steps of one run
  bool cache_f8 = false;

  bool is_prefill() const { return prompt > 0; }
  // Longest sequence of a case of `runs` runs: decode goes on where the run before stopped.
  uint64_t positions(uint32_t runs) const;
  // "decode, 2048 context, batch 8", without threads.
  std::string name() const;
};

// "prompt=512", "decode,context=2048,batch=8,threads=2,tokens=32,cache=f8": INVALID_ARGUMENT naming
// the word that is not known. A case asks for a prompt or for decode.
ModelCase parse_case(std::string_view text);

// What is run when nothing is asked for: the shapes of docs/performance.md.
std::vector<ModelCase> default_cases(bool small);

}  // namespace dsv3::bench
