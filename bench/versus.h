// Which of two is faster, and do both say the same? Two libraries or two sets of options, run in
// turns (A B A B) because shared machines drift.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "bench.h"
#include "session.h"

namespace dsv3::bench {

// One side: a library, and what it is asked differently.
struct Side {
  std::string name;
  Library library;
  SessionOptions options;
};

// B, made of A by `text`: words with commas, each a path of a library (it has a slash), or
// cpu_level=scalar|avx2|avx512, threads=N, step_tokens=N, determinism=strict|fast,
// weights=map|copy, model=FOLDER. INVALID_ARGUMENT naming the word that is not known.
Side other_side(const Side& base, std::string_view text);

struct VersusResult {
  std::string model;
  ModelCase asked;
  std::vector<double> a_seconds;  // by run
  std::vector<double> b_seconds;
  bool same_tokens = false;
  uint64_t tokens_compared = 0;
  uint64_t tokens_equal = 0;  // of each sequence before its first difference

  // How many times as fast B is, pair by pair.
  Spread b_over_a() const;
};

struct VersusReport {
  std::string a;
  std::string b;
  std::vector<VersusResult> cases;
};

VersusReport bench_versus(const Options& options);

std::string versus_table(const VersusReport& report);
std::string versus_json(const VersusReport& report);

}  // namespace dsv3::bench
