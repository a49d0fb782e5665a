// How are the results of model runs shown? One table for people, JSON and CSV for programs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ceilings.h"
#include "formulas.h"
#include "model_case.h"
#include "op_times.h"
#include "values.h"

namespace dsv3::bench {

// One case of one model.
struct CaseResult {
  std::string model;
  std::string dtype;
  ModelCase asked;
  uint32_t threads = 0;
  std::string level;             // "avx512-bf16"
  std::vector<double> seconds;   // of each run; a decode run is asked.tokens steps
  std::vector<double> steps;     // decode: seconds of each step of all runs
  Cost cost;                     // of one run
  std::vector<Ceilings> around;  // measured before each run and after the last; none on a GPU
  Ceilings ceilings;             // the best of them; 0 = none

  double tokens() const;  // of one run, all sequences
  Spread tokens_per_second() const;
  double gb_per_step() const;
  double ops_per_token() const;
  Spread bytes_per_second() const;
  Spread ops_per_second() const;
  // Of the ceiling that binds: reading for decode, bf16 products for prefill. Each run is held
  // against the better of the two measurements around it: machines drift. 0 = no ceiling.
  Spread ratio() const;
};

struct LoadResult {
  std::string model;
  std::string dtype;
  uint32_t threads = 0;
  std::vector<double> seconds;
};

struct CeilingResult {
  uint32_t threads = 0;
  std::string level;
  std::string how;
  Ceilings best;
};

struct ModelReport {
  std::string build;
  std::string device;
  std::vector<CeilingResult> ceilings;
  std::vector<LoadResult> loads;
  std::vector<CaseResult> cases;
  std::vector<OpProfile> profiles;  // where they were asked for
};

std::string report_table(const ModelReport& report);
// {"build", "device", "ceilings": [...], "loads": [...], "cases": [...], "profiles": [...],
// "figures": [...]}: figures are what ops and text print too.
std::string report_json(const ModelReport& report);
// One line a case, a line of names first.
std::string report_csv(const ModelReport& report);

}  // namespace dsv3::bench
