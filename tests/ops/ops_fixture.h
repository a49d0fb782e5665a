// What every conformance test needs: each available Ops, matrices whose exact values are known in
// double, and a comparison that names the worst element.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/allocator.h"
#include "base/error.h"
#include "base/thread_pool.h"
#include "cpu/cpu_ops.h"
#include "ops/ops.h"
#include "reference/reference_ops.h"

namespace dsv3::ops_test {

using reference::Values;

// splitmix64: the same numbers with every standard library.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t bits();
  double uniform();  // [0, 1)
  double normal();   // variance 1, bounded by about 3.5
  uint32_t below(uint32_t end) { return static_cast<uint32_t>(bits() % end); }

 private:
  uint64_t state_;
};

// The price of one rounding, relative: 8 and 24 significant bits, half a unit in the last place.
inline constexpr double kRoundBF16 = 0x1p-8;
inline constexpr double kRoundF32 = 0x1p-24;
inline double round_of(DType dtype) { return dtype == DType::kBF16 ? kRoundBF16 : kRoundF32; }

// A matrix in one of the storage formats, and what it means. Rows are padded and the first element
// is only aligned to itself, as in a mapped file.
class Matrix {
 public:
  Matrix() = default;
  Matrix(DType dtype, uint32_t rows, uint32_t cols);
  static Matrix random(Random& random, DType dtype, uint32_t rows, uint32_t cols,
                       double magnitude = 1.0);

  uint32_t row_count() const { return rows_; }
  uint32_t cols() const { return cols_; }
  DType dtype() const { return dtype_; }
  void set(uint32_t row, uint32_t col, double value);  // rounds to the format; not for F8
  double get(uint32_t row, uint32_t col) const;        // scales included
  Values values() const;                               // [rows, cols]
  Values row_values(uint32_t row) const;

  Rows rows();
  ConstRows rows() const;
  ConstRows rows(uint32_t begin, uint32_t count) const;
  Rows rows(uint32_t begin, uint32_t count);
  Weight weight() const;
  // Elements are equal bit by bit; padding does not count.
  bool same_bits(const Matrix& other) const;
  bool same_row(uint32_t row, const Matrix& other, uint32_t other_row) const;

 private:
  const std::byte* at(uint32_t row, uint32_t col) const;
  std::byte* at(uint32_t row, uint32_t col);

  DType dtype_ = DType::kF32;
  uint32_t rows_ = 0;
  uint32_t cols_ = 0;
  uint64_t stride_ = 0;
  std::vector<std::byte> bytes_;
  std::vector<float> scales_;
};

// Each |actual - expected| <= bound; NaN and infinities at equal places. Prints the worst element.
void expect_close(const Values& actual, const Values& expected, const Values& bound,
                  const std::string& what);

struct OpsParam {
  CpuLevel level = CpuLevel::kScalar;
  uint32_t threads = 1;
  ActivationQuant quant = ActivationQuant::kNone;
  bool is_cuda = false;  // then level and threads mean nothing
};
// Every level this processor runs, with 1 and 2 threads, and with 2 under profile 1x128; the GPU
// this program is linked with (an emulated one in the ordinary tests), under both profiles.
std::vector<OpsParam> all_ops();
std::string ops_name(const ::testing::TestParamInfo<OpsParam>& info);

// Rounding errors of a sum of `terms` products, relative to the sum of their magnitudes. On any CPU
// level: at least 8 running sums, a tree of at most 4 levels over them, a rounded product where the
// level has no fused multiply-add, and one more rounding for each scaled block of 128. On a GPU
// chain_error of a block of 128, its two scales, its addition to one of 8 runs and theirs.
double sum_error(uint32_t terms, const OpsParam& param);
// The same where a GPU does not cut the sum into blocks of 128 (attention): one chain of
// tensor-core products. A real one truncates to no less than FP32's 24 bits of the largest addend
// (a whole unit, not half), and its running sum is one more addend for every 16 products; the
// emulated one rounds after each. Two parts of the sum and its factor may be rounded besides.
double chain_error(uint32_t terms, const OpsParam& param);

OpsLimits test_limits();

// One Ops for host memory with all that it lives on.
struct OpsBox {
  explicit OpsBox(const OpsParam& param, const OpsLimits& limits = test_limits());
  Allocator allocator{{}, 0};
  ThreadPool pool;
  std::unique_ptr<Ops> ops;
};

// Runs fn and checks that it is refused with INTERNAL and a message that contains both words.
void expect_refused(const std::function<void()>& fn, const std::string& op,
                    const std::string& argument);

class Conformance : public ::testing::TestWithParam<OpsParam> {
 protected:
  // For ids and numbers that lie in device memory: a GPU's host side cannot look there to refuse.
  static void expect_contents_refused(const std::function<void()>& fn, const std::string& op,
                                      const std::string& argument);

  OpsBox box_{GetParam()};
  Ops& ops_ = *box_.ops;
};

}  // namespace dsv3::ops_test
