// What must be known of a model's folder to say what a step of it costs? Its config, and how its
// tensors are stored; no weights are read.
#pragma once

#include <string>

#include "base/dtype.h"
#include "formulas.h"
#include "model/config.h"

namespace dsv3::bench {

struct ModelFacts {
  std::string folder;
  std::string name;  // the folder's last part
  ModelConfig config;
  DType projection = DType::kBF16;
  DType plain = DType::kBF16;

  // "bf16", "f8 blocks"
  std::string dtype() const;
  // With one token of one layer of the cache in `cache_dtype` (DSV3_DTYPE_*, as context_info says).
  StoredBytes stored(int32_t cache_dtype) const;
};

// Throws what config and headers deserve.
ModelFacts read_model_facts(const std::string& folder);

}  // namespace dsv3::bench
