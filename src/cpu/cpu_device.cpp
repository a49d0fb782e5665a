#include "cpu/cpu_device.h"

#include <cstring>

#include "base/checked.h"
#include "base/error.h"

namespace dsv3 {
namespace {

constexpr uint64_t kWeightAlignment = 256;

// A weight [rows, cols] or [cols] without memory, rows without gaps.
Weight weight_of(const Shape& shape, DType dtype) {
  const bool is_vector = shape.rank == 1;
  DSV3_ASSERT(is_vector || shape.rank == 2);
  Weight weight;
  weight.dtype = dtype;
  weight.rows = is_vector ? 1 : narrow<uint32_t>(shape[0], "rows of a weight");
  weight.cols = narrow<uint32_t>(shape[is_vector ? 0 : 1], "columns of a weight");
  weight.stride = weight.cols;
  if (dtype == DType::kF8E4M3) weight.scale_stride = ceil_div(weight.cols, kBlock);
  return weight;
}

uint64_t value_bytes(const Weight& weight) {
  const uint64_t elements = uint64_t{weight.rows} * weight.cols;
  return mul_or_fail<uint64_t>(elements, dtype_bits(weight.dtype) / 8, "bytes of a weight");
}

uint64_t scale_bytes(const Weight& weight) {
  return uint64_t{ceil_div(weight.rows, kBlock)} * weight.scale_stride * sizeof(float);
}

}  // namespace

Block CpuDevice::allocate(uint64_t bytes, std::string_view what) {
  return Block(allocator_, bytes, what, kWeightAlignment);
}

Weight CpuDevice::load(const TensorView& tensor, const TensorView* scales) {
  DSV3_ASSERT(reinterpret_cast<uintptr_t>(tensor.data) % (dtype_bits(tensor.dtype) / 8) == 0);
  DSV3_ASSERT((scales != nullptr) == (tensor.dtype == DType::kF8E4M3));
  Weight weight = weight_of(tensor.shape, tensor.dtype);
  weight.data = tensor.data;
  if (scales != nullptr) {
    DSV3_ASSERT(scales->dtype == DType::kF32);
    DSV3_ASSERT(reinterpret_cast<uintptr_t>(scales->data) % alignof(float) == 0);
    weight.scales = reinterpret_cast<const float*>(scales->data);
  }
  return weight;
}

uint64_t CpuDevice::weight_bytes(const Shape& shape, DType dtype) const {
  const Weight weight = weight_of(shape, dtype);
  return align_up(value_bytes(weight), kWeightAlignment) +
         align_up(scale_bytes(weight), kWeightAlignment);
}

Weight CpuDevice::place(const Shape& shape, DType dtype, std::byte* memory) const {
  Weight weight = weight_of(shape, dtype);
  weight.data = memory;
  if (dtype == DType::kF8E4M3) {
    std::byte* const scales = memory + align_up(value_bytes(weight), kWeightAlignment);
    weight.scales = reinterpret_cast<const float*>(scales);
  }
  return weight;
}

// place() was given the memory to write; a Weight only shows it read-only to the model.
void CpuDevice::upload(const Weight& weight, uint64_t offset, const void* host, uint64_t bytes) {
  DSV3_ASSERT(offset + bytes <= value_bytes(weight));
  auto* const values = static_cast<std::byte*>(const_cast<void*>(weight.data));
  if (bytes != 0) std::memcpy(values + offset, host, bytes);
}

void CpuDevice::upload_scales(const Weight& weight, const float* host) {
  DSV3_ASSERT(weight.scales != nullptr);
  std::memcpy(const_cast<float*>(weight.scales), host, scale_bytes(weight));
}

void CpuDevice::copy_to_device(void* device, const void* host, uint64_t bytes) {
  if (bytes != 0) std::memcpy(device, host, bytes);
}

void CpuDevice::copy_to_host(void* host, const void* device, uint64_t bytes) {
  if (bytes != 0) std::memcpy(host, device, bytes);
}

void CpuDevice::fill_zero(void* device, uint64_t bytes) {
  if (bytes != 0) std::memset(device, 0, bytes);
}

void CpuDevice::replay(Recording&) { fail(Status::kInternal, "the cpu makes no recordings"); }

}  // namespace dsv3
