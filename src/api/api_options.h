// What do the options of a context ask for? Copied, checked, and in the words of the rooms below.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "cpu/cpu_ops.h"
#include "dsv3.h"
#include "engine/types.h"
#include "model/loader.h"

namespace dsv3 {

enum class ModelSource : uint8_t { kFolder, kIo, kMemory };

struct ContextOptions {
  ModelSource source = ModelSource::kFolder;
  std::string model_path;
  bool follow_links = false;
  std::vector<std::string> file_names;   // kMemory
  std::vector<MemoryFile> memory_files;  // names point into file_names
  ModelOptions model;
  uint64_t json_bytes_max = 0;  // 0 = each reader's own
  int32_t device = DSV3_DEVICE_CPU;
  int device_ordinal = 0;
  uint64_t ceiling_bytes = 0;  // of the device's memory; 0 = none
  bool gpu_high_priority = false;
  ActivationQuant activation_quant = ActivationQuant::kNone;
  CpuLevel cpu_level = CpuLevel::kScalar;
  OutOfPagesPolicy out_of_pages = OutOfPagesPolicy::kPreempt;
};

// INVALID_ARGUMENT, LIMIT, or UNSUPPORTED naming the option, the value found and the value wanted.
void parse_context_options(const dsv3_context_options& options, ContextOptions* out);

}  // namespace dsv3
