// Bounds-checked shapes and read-only tensor views over memory somebody else owns.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "base/dtype.h"

namespace dsv3 {

inline constexpr uint32_t kRankMax = 4;

// Dimensions of a tensor, row-major; rank 0 is a scalar.
struct Shape {
  std::array<uint64_t, kRankMax> dims{};
  uint32_t rank = 0;

  Shape() = default;
  Shape(std::initializer_list<uint64_t> values);
  uint64_t operator[](uint32_t axis) const { return dims[axis]; }
  bool operator==(const Shape& other) const;
  // Product of the dimensions; Error{LIMIT} when it does not fit 64 bits.
  uint64_t elements() const;
  // "[576, 7168]"
  std::string text() const;
};

// A tensor's bytes in host memory. Owns nothing; `data` may be unaligned (spec §6.1).
struct TensorView {
  const std::byte* data = nullptr;
  uint64_t bytes = 0;
  DType dtype = DType::kF32;
  Shape shape;
};

}  // namespace dsv3
