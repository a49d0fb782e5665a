#include "base/view.h"

#include "base/checked.h"

namespace dsv3 {

Shape::Shape(std::initializer_list<uint64_t> values) {
  DSV3_ASSERT(values.size() <= kRankMax);
  for (const uint64_t value : values) dims[rank++] = value;
}

bool Shape::operator==(const Shape& other) const {
  if (rank != other.rank) return false;
  for (uint32_t axis = 0; axis < rank; ++axis) {
    if (dims[axis] != other.dims[axis]) return false;
  }
  return true;
}

uint64_t Shape::elements() const {
  uint64_t count = 1;
  for (uint32_t axis = 0; axis < rank; ++axis) {
    count = mul_or_fail(count, dims[axis], "elements of a shape");
  }
  return count;
}

std::string Shape::text() const {
  std::string out = "[";
  for (uint32_t axis = 0; axis < rank; ++axis) {
    if (axis != 0) out += ", ";
    out += str(dims[axis]);
  }
  return out + "]";
}

}  // namespace dsv3
