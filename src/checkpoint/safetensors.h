// What does the header of one safetensors file say, and may it be believed? (spec §6.1, §6.3)
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/dtype.h"
#include "base/view.h"

namespace dsv3 {

class SourceFile;

struct CheckpointLimits {
  uint64_t header_bytes_max = 100'000'000;  // the format's own limit
  uint64_t index_bytes_max = 100'000'000;
  uint64_t tensors_max = 1'000'000;  // of the whole checkpoint (V3 has 91,991)
  uint64_t files_max = 10'000;       // shards
  uint32_t name_bytes_max = 512;     // of a tensor
  uint32_t rank_max = 64;            // dimensions of a tensor that nobody uses; ours have 1 or 2
};

// One tensor of a file. Its bytes are [begin, begin + bytes) of that file, wherever they fall: no
// alignment may be assumed.
struct TensorEntry {
  std::string name;
  std::string dtype_name;      // as written
  std::optional<DType> dtype;  // empty: a name we do not know
  uint32_t rank = 0;
  Shape shape;         // when rank <= kRankMax, else empty
  uint64_t begin = 0;  // from the start of the file
  uint64_t bytes = 0;
  uint32_t file = 0;  // index into Checkpoint::files()

  // "BF16 [576, 7168]", for messages.
  std::string description() const;
};

// Parses and checks one file, its header read through `file`. Entries come sorted by name, with
// `file` set to `file_index`. `file_name` is for messages. An unknown dtype is no error here (it is
// one when the tensor is wanted), but its range is checked like any other. Error{INVALID_MODEL} for
// spec §6.3 items 1-6, Error{LIMIT} over the limits, Error{IO} from the file.
std::vector<TensorEntry> read_safetensors(SourceFile& file, const std::string& file_name,
                                          uint32_t file_index, const CheckpointLimits& limits);

// The same for a header already in memory: `header` is the JSON text, `data_begin` where the data
// buffer starts in the file, `file_bytes` its size.
struct SafetensorsHeader {
  std::string_view json;
  uint64_t data_begin = 0;
  uint64_t file_bytes = 0;
};
std::vector<TensorEntry> parse_safetensors_header(const SafetensorsHeader& header,
                                                  const std::string& file_name, uint32_t file_index,
                                                  const CheckpointLimits& limits);

}  // namespace dsv3
