// dsv3-bench: how fast is this machine, as ratios to its own ceilings measured in the same run?
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model_case.h"
#include "ops/device.h"
#include "ops/ops.h"
#include "report.h"

namespace dsv3::bench {

// One figure. Seconds are medians over batches of calls.
struct Figure {
  std::string name;
  double seconds = 0.0;  // of one call
  double bytes = 0.0;    // moved by one call, as the formula of the op needs them; 0 = not counted
  double flops = 0.0;
  double ratio = 0.0;  // bytes per second over those of the copy ceiling of this run; 0 = none
};

// What the command line asks for; each command looks at what concerns it.
struct Options {
  std::string device = "cpu";  // or "cuda"
  int ordinal = 0;
  bool one_by_128 = false;          // activation_quant
  bool small = false;               // shapes for a check that it works, not for figures
  std::vector<std::string> models;  // folders; text takes one
  std::vector<std::string> texts;   // files to be tokenized

  std::vector<ModelCase> cases;  // none: default_cases
  uint32_t runs = 5;             // of each case
  uint32_t threads = 0;          // of cases that name none; 0 = one per processor
  uint32_t step_tokens = 512;    // rows of one pass
  int32_t cpu_level = 0;         // DSV3_CPU_LEVEL_*
  int32_t determinism = 0;       // DSV3_DETERMINISM_*
  int32_t weights = 0;           // DSV3_WEIGHTS_*
  std::string versus;            // other_side; empty: nothing is compared
  std::string json;              // files to be written; "-" is standard output, without the table
  std::string csv;
  bool ops = false;  // time per op of every case, too
  std::string plot;  // SVG of it
};

// Kernels, one op at a time, on random weights of V3's and Moonlight's shapes. The first figure is
// the ceiling: a copy of rows in device memory.
std::vector<Figure> bench_ops(Device& device, Ops& ops, const Options& options);

// Ceilings, load, prefill, decode of every folder and case, through dsv3.h. Throws Error.
ModelReport bench_model(const Options& options);

// Tokenizer and constraints of the folder's tokenizer.json: no weights are read. Throws Error.
std::vector<Figure> bench_text(const Options& options);

}  // namespace dsv3::bench
