// What the tests of row and sampling kernels share: a stream of the emulated GPU, numbers, and
// matrices whose rows may start anywhere.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/random.h"
#include "cuda/gpu_runtime.h"
#include "kernels/common/kernel_types.h"

namespace dsv3::row_test {

// One stream; its memory is host memory, so vectors are device memory.
class RowKernels : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(gpu::use_device(0), 0);
    ASSERT_EQ(gpu::stream_create(false, &stream_), 0);
  }
  void TearDown() override { EXPECT_EQ(gpu::stream_destroy(stream_), 0); }

  // Ends the test's work so far: `error` is what the launcher said.
  void finish(int error) {
    ASSERT_EQ(error, 0) << gpu::error_text(error);
    const int waited = gpu::stream_wait(stream_);
    ASSERT_EQ(waited, 0) << gpu::error_text(waited);
  }

  gpu::Stream* stream_ = nullptr;
};

class Numbers {
 public:
  explicit Numbers(uint64_t seed) : state_(seed) {}
  uint64_t bits() { return mix64(state_ += 0x9e3779b97f4a7c15ull); }
  uint32_t below(uint32_t end) { return static_cast<uint32_t>(bits() % end); }
  double uniform() { return static_cast<double>(bits() >> 11) * 0x1p-53; }
  // Variance 1, at most 6.
  double normal() {
    double sum = -6.0;
    for (int i = 0; i < 12; ++i) sum += uniform();
    return sum;
  }

 private:
  uint64_t state_;
};

inline float bf16_value(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

// Rounds to nearest even by trying both neighbours in double.
inline uint16_t bf16_bits(float value) {
  uint32_t wide;
  std::memcpy(&wide, &value, sizeof wide);
  if (std::isnan(value)) return static_cast<uint16_t>(wide >> 16 | 0x40u);
  const auto low = static_cast<uint16_t>(wide >> 16);
  const auto high = static_cast<uint16_t>(low + 1);
  const double below = std::fabs(static_cast<double>(value) - static_cast<double>(bf16_value(low)));
  const double above =
      std::fabs(static_cast<double>(bf16_value(high)) - static_cast<double>(value));
  if (below != above) return below < above ? low : high;
  return low % 2 == 0 ? low : high;
}

// A matrix of BF16 or F32. Rows are `stride` apart; `shift` moves the first element off alignment.
class Grid {
 public:
  Grid(kernels::Type type, uint32_t rows, uint32_t cols, uint32_t stride, uint32_t shift = 0)
      : type_(type), rows_(rows), cols_(cols), stride_(stride), shift_(shift) {
    bytes_.assign((uint64_t{rows} * stride + shift) * size() + 16, 0x5a);
  }
  static Grid random(Numbers& numbers, const Grid& like, double magnitude = 1.0) {
    Grid grid = like;
    for (uint32_t r = 0; r < grid.rows_; ++r) {
      for (uint32_t c = 0; c < grid.cols_; ++c) {
        grid.set(r, c, static_cast<float>(magnitude * numbers.normal()));
      }
    }
    return grid;
  }

  void set(uint32_t row, uint32_t col, float value) {
    if (type_ == kernels::Type::kF32) {
      std::memcpy(at(row, col), &value, 4);
    } else {
      const uint16_t bits = bf16_bits(value);
      std::memcpy(at(row, col), &bits, 2);
    }
  }
  float get(uint32_t row, uint32_t col) const {
    float value;
    if (type_ == kernels::Type::kF32) {
      std::memcpy(&value, at(row, col), 4);
      return value;
    }
    uint16_t bits;
    std::memcpy(&bits, at(row, col), 2);
    return bf16_value(bits);
  }
  // What `value` becomes when stored here.
  float rounded(float value) const {
    return type_ == kernels::Type::kF32 ? value : bf16_value(bf16_bits(value));
  }
  bool same_row(uint32_t row, const Grid& other, uint32_t other_row) const {
    return std::memcmp(at(row, 0), other.at(other_row, 0), uint64_t{cols_} * size()) == 0;
  }

  kernels::Matrix view() { return {first(), type_, rows_, cols_, stride_}; }
  kernels::ConstMatrix view() const {
    return {const_cast<Grid*>(this)->first(), type_, rows_, cols_, stride_};
  }
  kernels::ConstMatrix row_view(uint32_t row) const {
    return {const_cast<Grid*>(this)->at(row, 0), type_, 1, cols_, stride_};
  }
  kernels::Weights weights() const {
    return {const_cast<Grid*>(this)->first(), type_, rows_, cols_, stride_, nullptr, 0};
  }
  uint32_t rows() const { return rows_; }
  uint32_t cols() const { return cols_; }
  kernels::Type type() const { return type_; }

 private:
  uint32_t size() const { return type_ == kernels::Type::kF32 ? 4 : 2; }
  unsigned char* base() {  // 16-byte aligned
    const auto address = reinterpret_cast<uintptr_t>(bytes_.data());
    return bytes_.data() + (16 - address % 16) % 16;
  }
  unsigned char* first() { return base() + uint64_t{shift_} * size(); }
  unsigned char* at(uint32_t row, uint32_t col) {
    return first() + (uint64_t{row} * stride_ + col) * size();
  }
  const unsigned char* at(uint32_t row, uint32_t col) const {
    return const_cast<Grid*>(this)->at(row, col);
  }

  kernels::Type type_;
  uint32_t rows_;
  uint32_t cols_;
  uint32_t stride_;
  uint32_t shift_;
  std::vector<unsigned char> bytes_;
};

}  // namespace dsv3::row_test
