#include "cpu/cpu_device.h"

#include <cstring>

#include "base/checked.h"
#include "base/error.h"

namespace dsv3 {

Block CpuDevice::allocate(uint64_t bytes, std::string_view what) {
  return Block(allocator_, bytes, what);
}

Weight CpuDevice::load(const TensorView& tensor, const TensorView* scales) {
  const bool is_vector = tensor.shape.rank == 1;
  DSV3_ASSERT(is_vector || tensor.shape.rank == 2);
  DSV3_ASSERT(reinterpret_cast<uintptr_t>(tensor.data) % (dtype_bits(tensor.dtype) / 8) == 0);
  DSV3_ASSERT((scales != nullptr) == (tensor.dtype == DType::kF8E4M3));
  Weight weight;
  weight.data = tensor.data;
  weight.dtype = tensor.dtype;
  weight.rows = is_vector ? 1 : narrow<uint32_t>(tensor.shape[0], "rows of a weight");
  weight.cols = narrow<uint32_t>(tensor.shape[is_vector ? 0 : 1], "columns of a weight");
  weight.stride = weight.cols;
  if (scales != nullptr) {
    DSV3_ASSERT(scales->dtype == DType::kF32);
    DSV3_ASSERT(reinterpret_cast<uintptr_t>(scales->data) % alignof(float) == 0);
    weight.scales = reinterpret_cast<const float*>(scales->data);
    weight.scale_stride = ceil_div(weight.cols, kBlock);
  }
  return weight;
}

void CpuDevice::copy_to_device(void* device, const void* host, uint64_t bytes) {
  if (bytes != 0) std::memcpy(device, host, bytes);
}

void CpuDevice::copy_to_host(void* host, const void* device, uint64_t bytes) {
  if (bytes != 0) std::memcpy(host, device, bytes);
}

}  // namespace dsv3
