// How is the time of each op shown, beside what it must take?
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ceilings.h"
#include "formulas.h"
#include "model_case.h"

namespace dsv3::bench {

// All calls of one name in one step of decode, or in the passes of one prompt.
struct OpTime {
  std::string name;
  uint32_t calls = 0;
  double seconds = 0.0;        // in the pass, median of the passes
  double alone_seconds = 0.0;  // each call after the caches were swept
  Cost cost;

  // The larger of bytes at the read ceiling and operations at the bf16 ceiling.
  double floor_seconds(const Ceilings& ceilings) const;
};

struct OpProfile {
  std::string model;
  std::string dtype;
  ModelCase asked;
  uint32_t threads = 0;
  Ceilings ceilings;
  double pass_seconds = 0.0;  // of everything, median
  std::vector<OpTime> ops;    // in the order of their first call
};

std::string profile_table(const OpProfile& profile);
// An array with one object a profile.
std::string profile_json(const std::vector<OpProfile>& profiles);
// SVG: for each profile the times of its ops stacked, beside their floors.
std::string profile_plot(const std::vector<OpProfile>& profiles);

}  // namespace dsv3::bench
