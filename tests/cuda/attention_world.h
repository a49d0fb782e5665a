// A paged latent cache of a few sequences in device memory with NaN wherever no key is, queries for
// each of their positions, and what attention over them should give: a double oracle that rounds
// where the kernels do, so that its bounds can be tight.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/allocator.h"
#include "cuda/cuda_machine.h"
#include "ops/args.h"

namespace dsv3::attention_test {

using Bytes = std::vector<std::byte>;
using Values = std::vector<double>;

class Numbers {
 public:
  explicit Numbers(uint64_t seed) : state_(seed) {}
  uint64_t bits();
  uint32_t below(uint32_t end) { return static_cast<uint32_t>(bits() % end); }
  double normal();  // variance 1, at most about 3.5

 private:
  uint64_t state_;
};

// A GPU and copies to and from its memory.
class Gpu {
 public:
  explicit Gpu(const OpsLimits& limits, ActivationQuant quant = ActivationQuant::kNone);
  // Lives as long as this.
  std::byte* upload(const void* data, uint64_t bytes);
  template <typename T>
  T* upload(const std::vector<T>& data) {
    return reinterpret_cast<T*>(upload(data.data(), data.size() * sizeof(T)));
  }
  void copy_to(void* device, const Bytes& bytes);
  Bytes download(const void* device, uint64_t bytes);
  Ops& ops() { return *machine_.ops; }
  Device& device() { return *machine_.device; }

 private:
  Allocator host_{{}, 0};
  CudaMachine machine_;
  std::vector<Block> blocks_;
};

// Host bytes of a matrix with 16-byte aligned rows; zeros past the columns.
struct Table {
  Table(DType dtype_in, uint32_t rows_in, uint32_t cols_in);
  void set(uint32_t row, uint32_t col, double value);  // rounds; F8: to a code of scale
  double get(uint32_t row, uint32_t col) const;        // scale included
  void fill(Numbers& numbers, double magnitude);
  uint64_t row_bytes() const;

  DType dtype;
  uint32_t rows;
  uint32_t cols;
  uint64_t stride;
  Bytes bytes;
  std::vector<float> scales;  // F8: [ceil(rows/128), ceil(cols/128)]
};

struct Kinds {
  DType act = DType::kBF16;
  DType pages = DType::kBF16;
  DType weight = DType::kBF16;
};

// Rows [position, position + rows) of a sequence.
struct Part {
  uint32_t sequence = 0;
  uint32_t position = 0;
  uint32_t rows = 1;
  AttentionForm form = AttentionForm::kUnabsorbed;
};

struct Expected {
  Values out;    // [N*dv]
  Values bound;  // of each
};

OpsLimits limits_of(const MlaShape& shape, DType act, uint32_t rows_max, uint32_t positions_max);

class World {
 public:
  World(const MlaShape& shape, const Kinds& kinds, const std::vector<uint32_t>& keys,
        uint64_t seed);

  // Keys of a sequence that hold NaN although they are its own.
  void poison(uint32_t sequence, uint32_t position);
  // Out rows, part after part, of one mla_attend.
  std::vector<Bytes> attend(Gpu& gpu, const std::vector<Part>& parts);
  Values values_of(const Bytes& row) const;
  Expected expect(const Part& part, uint32_t row);
  void check(Gpu& gpu, const std::vector<Part>& parts, const std::string& what);

  // --- pieces of attend, for tests that call launchers or record
  // Arguments in device memory; `parts` may be changed later by set_parts.
  MlaAttendArgs place(Gpu& gpu, const std::vector<Part>& parts);
  void set_parts(Gpu& gpu, const MlaAttendArgs& args, const std::vector<Part>& parts);
  std::vector<Bytes> rows_of(Gpu& gpu, const MlaAttendArgs& args) const;

 private:
  struct Sequence {
    uint32_t keys = 0;
    std::vector<int32_t> table;
    Values cache;     // [keys, Rkv+dr] as stored
    Values expanded;  // [keys, N*(dn+dv)], made when first needed
    Table queries{DType::kF32, 0, 1};
    int32_t* device_table = nullptr;
  };

  void make_sequence(Numbers& numbers, uint32_t keys, std::vector<int32_t> table);
  void store(const Sequence& sequence, uint32_t position, Values& values);
  std::vector<BatchSpan> spans_of(const std::vector<Part>& parts) const;
  Bytes query_rows(const std::vector<Part>& parts) const;
  void check_row(const Part& part, uint32_t row, const Bytes& bytes, const std::string& what);
  void expand(Sequence& sequence) const;
  Values scores_of(const Sequence& sequence, const Part& part, uint32_t row, uint32_t head) const;
  Values head_expected(const Sequence& sequence, const Part& part, uint32_t row, uint32_t head,
                       Values& bound) const;
  bool on_tensor_cores(AttentionForm form) const;
  uint64_t page_bytes() const;

  MlaShape shape_;
  Kinds kinds_;
  Table kv_b_;
  Values weights_;  // of kv_b
  Bytes cache_;
  std::vector<Sequence> sequences_;
  std::vector<BatchSpan> host_spans_;  // of the last place or set_parts
  float scale_;
};

// The F8E4M3 form of latents as spec §4.4 has it: codes and one scale for each 128.
void quantise_latents(const Values& latents, std::vector<uint8_t>& codes,
                      std::vector<float>& scales);

}  // namespace dsv3::attention_test
