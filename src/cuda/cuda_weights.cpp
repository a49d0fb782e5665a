// How do weights come to lie in a GPU's memory, and how do they get there at the speed of the link?
#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "base/error.h"
#include "cuda/cuda_device.h"

namespace dsv3 {
namespace {

constexpr uint64_t kRowAlignment = 16;     // of every row: the widest load of a kernel
constexpr uint64_t kPieceAlignment = 256;  // of a weight and of its scales

// Rows, each padded with zeros to a multiple of 16 bytes; then, 256-byte aligned, the scales.
struct WeightLayout {
  WeightLayout(const Shape& shape, DType dtype) {
    const bool is_vector = shape.rank == 1;
    DSV3_ASSERT(is_vector || shape.rank == 2);
    rows = is_vector ? 1 : narrow<uint32_t>(shape[0], "rows of a weight");
    cols = narrow<uint32_t>(shape[is_vector ? 0 : 1], "columns of a weight");
    const uint64_t element = dtype_bits(dtype) / 8;
    const uint64_t row_bytes = align_up(cols * element, kRowAlignment);
    stride = row_bytes / element;
    scales_at =
        align_up(mul_or_fail<uint64_t>(rows, row_bytes, "bytes of a weight"), kPieceAlignment);
    bytes = scales_at;
    if (dtype != DType::kF8E4M3) return;
    scale_stride = ceil_div(cols, kBlock);
    const uint64_t scales = uint64_t{ceil_div(rows, kBlock)} * scale_stride;
    bytes = align_up(add_or_fail(scales_at, scales * sizeof(float), "bytes of a weight"),
                     kPieceAlignment);
  }

  uint32_t rows = 0;
  uint32_t cols = 0;
  uint64_t stride = 0;        // elements
  uint64_t scale_stride = 0;  // elements; 0 without scales
  uint64_t scales_at = 0;     // bytes from the first row
  uint64_t bytes = 0;
};

// A walk over a weight's bytes in the order of the file, which has no gaps between rows.
struct UploadCursor {
  const std::byte* host = nullptr;
  uint64_t bytes_left = 0;
  uint64_t row = 0;
  uint64_t column = 0;  // bytes into the row
};

struct PaddedRow {
  uint64_t bytes = 0;   // of the file's row
  uint64_t stride = 0;  // bytes of the device's row
};

// Fills `staging` with what the device shall hold from the cursor on, padding included, so that one
// contiguous copy brings it there. Returns its bytes.
uint64_t pack(UploadCursor& cursor, const PaddedRow& row, std::byte* staging) {
  const uint64_t padding = row.stride - row.bytes;
  const uint64_t capacity = CudaDevice::kUploadPieceBytes - padding;
  uint64_t used = 0;
  while (cursor.bytes_left != 0 && used < capacity) {
    // Without padding all rows are one.
    const uint64_t row_left = padding == 0 ? cursor.bytes_left : row.bytes - cursor.column;
    const uint64_t count = std::min({row_left, cursor.bytes_left, capacity - used});
    std::memcpy(staging + used, cursor.host, count);
    used += count;
    cursor.host += count;
    cursor.bytes_left -= count;
    cursor.column += count;
    if (count == row_left) {
      std::memset(staging + used, 0, padding);
      used += padding;
    }
    cursor.row += cursor.column / row.bytes;
    cursor.column %= row.bytes;
  }
  return used;
}

}  // namespace

Weight CudaDevice::load(const TensorView& /*tensor*/, const TensorView* /*scales*/) {
  fail(Status::kInternal, description(), ": a weight cannot be used in host memory, wanted place");
}

uint64_t CudaDevice::weight_bytes(const Shape& shape, DType dtype) const {
  return WeightLayout(shape, dtype).bytes;
}

Weight CudaDevice::place(const Shape& shape, DType dtype, std::byte* memory) const {
  DSV3_ASSERT(reinterpret_cast<uintptr_t>(memory) % kPieceAlignment == 0);
  const WeightLayout layout(shape, dtype);
  Weight weight;
  weight.data = memory;
  weight.dtype = dtype;
  weight.rows = layout.rows;
  weight.cols = layout.cols;
  weight.stride = layout.stride;
  if (layout.scale_stride != 0) {
    weight.scales = reinterpret_cast<const float*>(memory + layout.scales_at);
    weight.scale_stride = layout.scale_stride;
  }
  return weight;
}

// The ring costs 24 MiB of pinned memory and is taken when there is something to upload.
void CudaDevice::make_staging() {
  if (staging_memory_.data() != nullptr) return;
  for (Staging& staging : staging_) {
    if (staging.left != nullptr) continue;
    gpu::Event* event = nullptr;
    check(gpu::event_create(&event), "making an event");
    staging.left.reset(event);
  }
  staging_memory_ = allocate_host(kUploadRingBytes, "buffers of uploads");
  for (size_t i = 0; i < staging_.size(); ++i) {
    staging_[i].data = staging_memory_.data() + i * kUploadPieceBytes;
  }
}

CudaDevice::Staging& CudaDevice::next_staging() {
  Staging& staging = staging_[staging_next_];
  staging_next_ = (staging_next_ + 1) % static_cast<uint32_t>(staging_.size());
  check(gpu::event_wait(staging.left.get()), "waiting for an upload");
  return staging;
}

void CudaDevice::upload(const Weight& weight, uint64_t offset, const void* host, uint64_t bytes) {
  enter_to_wait();
  const uint64_t element = dtype_bits(weight.dtype) / 8;
  const PaddedRow row{.bytes = weight.cols * element, .stride = weight.stride * element};
  DSV3_ASSERT(offset <= weight.rows * row.bytes && bytes <= weight.rows * row.bytes - offset);
  if (bytes == 0) return;
  make_staging();
  UploadCursor cursor{.host = static_cast<const std::byte*>(host),
                      .bytes_left = bytes,
                      .row = offset / row.bytes,
                      .column = offset % row.bytes};
  // A weight is read-only for ops; this is its one writer.
  auto* device = static_cast<std::byte*>(const_cast<void*>(weight.data));
  while (cursor.bytes_left != 0) {
    std::byte* to = device + cursor.row * row.stride + cursor.column;
    Staging& staging = next_staging();
    const uint64_t packed = pack(cursor, row, staging.data);
    check(gpu::copy_to_device(to, staging.data, packed, stream_.get()), "uploading a weight");
    check(gpu::event_record(staging.left.get(), stream_.get()), "uploading a weight");
  }
}

void CudaDevice::upload_scales(const Weight& weight, const float* host) {
  DSV3_ASSERT(weight.scales != nullptr);
  // Scales are rows without padding: a weight of their own.
  const Weight scales{.data = weight.scales,
                      .dtype = DType::kF32,
                      .rows = ceil_div(weight.rows, kBlock),
                      .cols = ceil_div(weight.cols, kBlock),
                      .stride = weight.scale_stride};
  upload(scales, 0, host, uint64_t{scales.rows} * scales.cols * sizeof(float));
}

}  // namespace dsv3
