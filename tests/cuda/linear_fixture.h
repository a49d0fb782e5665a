// What the tests of linear kernels share: a stream of the emulated GPU, and matrices laid out as
// kernels want them, NaN wherever nothing may be read.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/error.h"
#include "base/random.h"
#include "cuda/gpu_runtime.h"
#include "kernels/linear.h"
#include "kernels/quantise.h"
#include "reference/reference_quant.h"

namespace dsv3::linear_test {

using kernels::LinearTile;
using kernels::Type;
using reference::Values;

inline DType dtype_of(Type type) { return static_cast<DType>(type); }
inline uint32_t bytes_of(Type type) { return dtype_bits(dtype_of(type)) / 8; }

class Numbers {
 public:
  explicit Numbers(uint64_t seed) : state_(seed) {}
  uint64_t bits() { return mix64(state_ += 0x9e3779b97f4a7c15ull); }
  uint32_t below(uint32_t end) { return static_cast<uint32_t>(bits() % end); }
  double uniform() { return static_cast<double>(bits() >> 11) * 0x1p-53; }
  double normal() {  // variance 1, at most 3.5
    double sum = 0.0;
    for (int i = 0; i < 4; ++i) sum += uniform();
    return (sum - 2.0) * std::sqrt(3.0);
  }

 private:
  uint64_t state_;
};

// Rows 16-byte aligned. What lies between the rows: zeros for a weight, else NaN.
class Grid {
 public:
  Grid() = default;
  Grid(Type type, uint32_t rows, uint32_t cols, bool is_weight = false)
      : type_(type), rows_(rows), cols_(cols) {
    const uint32_t per_piece = 16 / bytes_of(type);
    stride_ = (cols + per_piece - 1) / per_piece * per_piece;
    if (!is_weight) stride_ += per_piece;
    const uint64_t row_bytes = stride_ * bytes_of(type);
    memory_.assign(rows * row_bytes + 16, 0xff);  // NaN in every format
    if (is_weight) std::fill(memory_.begin(), memory_.end(), uint8_t{0});
    if (type == Type::kF8E4M3) scales_.resize(size_t{blocks(rows)} * blocks(cols), 1.0f);
  }
  static Grid random(Numbers& numbers, Type type, uint32_t rows, uint32_t cols, bool is_weight,
                     double size = 1.0) {
    Grid grid(type, rows, cols, is_weight);
    for (float& scale : grid.scales_) {
      scale = static_cast<float>(size * (0.2 + numbers.uniform()) / 40.0);
    }
    for (uint32_t r = 0; r < rows; ++r) {
      for (uint32_t c = 0; c < cols; ++c) {
        if (type != Type::kF8E4M3) {
          grid.set(r, c, size * numbers.normal());
          continue;
        }
        auto code = numbers.below(8) == 0
                        ? static_cast<uint8_t>(numbers.below(256))
                        : reference::nearest_e4m3(static_cast<float>(numbers.normal() * 40.0));
        if ((code & 0x7fu) == 0x7fu) code = 0;
        *grid.at(r, c) = code;
      }
    }
    return grid;
  }

  void set(uint32_t row, uint32_t col, double value) {
    const auto number = static_cast<float>(value);
    if (type_ == Type::kF32) {
      std::memcpy(at(row, col), &number, 4);
    } else if (type_ == Type::kBF16) {
      const uint16_t bits = bf16_from_float(number);
      std::memcpy(at(row, col), &bits, 2);
    } else {  // F16: multiples of 2^-24 below 2, toward zero
      ASSERT_EQ(static_cast<int>(type_), static_cast<int>(Type::kF16));
      uint16_t bits = 0;
      for (uint16_t next = 0x4000; next != 0; next /= 2) {
        const auto tried = static_cast<uint16_t>(bits + next);
        if (tried < 0x7c00 && std::fabs(f16_to_float(tried)) <= std::fabs(number)) bits = tried;
      }
      bits |= std::signbit(number) ? 0x8000u : 0u;
      std::memcpy(at(row, col), &bits, 2);
    }
  }
  void set_code(uint32_t row, uint32_t col, uint8_t code) { *at(row, col) = code; }
  double get(uint32_t row, uint32_t col) const {
    if (type_ == Type::kF8E4M3) {
      return reference::e4m3_value(*at(row, col)) * static_cast<double>(scale(row, col));
    }
    float number = 0.0f;
    std::memcpy(&number, at(row, col), bytes_of(type_));
    if (type_ == Type::kF32) return number;
    uint16_t bits = 0;
    std::memcpy(&bits, at(row, col), 2);
    return type_ == Type::kBF16 ? bf16_to_float(bits) : f16_to_float(bits);
  }
  Values values() const {
    Values all;
    for (uint32_t r = 0; r < rows_; ++r) {
      for (uint32_t c = 0; c < cols_; ++c) all.push_back(get(r, c));
    }
    return all;
  }
  bool same_row(uint32_t row, const Grid& other, uint32_t other_row) const {
    return std::memcmp(at(row, 0), other.at(other_row, 0), size_t{cols_} * bytes_of(type_)) == 0;
  }
  bool same(const Grid& other) const {
    bool same = rows_ == other.rows_;
    for (uint32_t r = 0; same && r < rows_; ++r) same = same_row(r, other, r);
    return same;
  }

  kernels::Matrix view() { return {at(0, 0), type_, rows_, cols_, stride_}; }
  kernels::ConstMatrix view() const { return {at(0, 0), type_, rows_, cols_, stride_}; }
  kernels::ConstMatrix row_view(uint32_t row) const {
    return {at(row, 0), type_, 1, cols_, stride_};
  }
  kernels::Weights weights() const {
    return {at(0, 0),     type_, rows_, cols_, stride_, scales_.empty() ? nullptr : scales_.data(),
            blocks(cols_)};
  }
  uint32_t rows() const { return rows_; }
  uint32_t cols() const { return cols_; }
  Type type() const { return type_; }
  std::string text() const {
    return str("[", rows_, ", ", cols_, "] ", dtype_name(dtype_of(type_)));
  }

 private:
  static uint32_t blocks(uint32_t count) { return (count + 127) / 128; }
  float scale(uint32_t row, uint32_t col) const {
    return scales_[size_t{row / 128} * blocks(cols_) + col / 128];
  }
  const uint8_t* at(uint32_t row, uint32_t col) const {
    const auto address = reinterpret_cast<uintptr_t>(memory_.data());
    return memory_.data() + (16 - address % 16) % 16 + (row * stride_ + col) * bytes_of(type_);
  }
  uint8_t* at(uint32_t row, uint32_t col) {
    return const_cast<uint8_t*>(static_cast<const Grid*>(this)->at(row, col));
  }

  Type type_ = Type::kF32;
  uint32_t rows_ = 0;
  uint32_t cols_ = 0;
  uint64_t stride_ = 0;
  std::vector<uint8_t> memory_;
  std::vector<float> scales_;
};

// Rows quantised 1x128, as the kernel wrote them.
struct QuantGrid {
  explicit QuantGrid(const Grid& x)
      : stride((x.cols() + 127) / 128 * 128),
        codes(x.rows() * stride + 16, 0x7f),
        scales(x.rows() * stride / 128, NAN) {}
  kernels::Codes view() {
    const auto address = reinterpret_cast<uintptr_t>(codes.data());
    return {codes.data() + (16 - address % 16) % 16, scales.data(), stride, stride / 128};
  }
  uint64_t stride;
  std::vector<uint8_t> codes;
  std::vector<float> scales;
};

// One stream; its memory is host memory, so vectors are device memory.
class LinearKernels : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(gpu::use_device(0), 0);
    ASSERT_EQ(gpu::stream_create(false, &stream_), 0);
  }
  void TearDown() override { EXPECT_EQ(gpu::stream_destroy(stream_), 0); }

  void finish(int error) {
    ASSERT_EQ(error, 0) << gpu::error_text(error);
    const int waited = gpu::stream_wait(stream_);
    ASSERT_EQ(waited, 0) << gpu::error_text(waited);
  }
  QuantGrid quantise(const Grid& x) {
    QuantGrid codes(x);
    finish(kernels::launch_quantise_any({x.view(), codes.view()}, stream_));
    return codes;
  }
  Grid linear(const Grid& x, const kernels::Codes& codes, const Grid& weight, Type y_type,
              LinearTile tile) {
    Grid y(y_type, x.rows(), weight.rows());
    kernels::LinearParams params;
    params.x = x.view();
    params.x_codes = codes;
    params.weight = weight.weights();
    params.y = y.view();
    finish(kernels::launch_linear_any(params, tile, stream_));
    return y;
  }
  // Row `row` of x by itself.
  Grid linear_row(const Grid& x, uint32_t row, const Grid& weight, Type y_type, LinearTile tile) {
    Grid y(y_type, 1, weight.rows());
    kernels::LinearParams params;
    params.x = x.row_view(row);
    params.weight = weight.weights();
    params.y = y.view();
    finish(kernels::launch_linear_any(params, tile, stream_));
    return y;
  }

  gpu::Stream* stream_ = nullptr;
};

}  // namespace dsv3::linear_test
