// One GPU as a Device: its memory inside a ceiling, one stream that gives everything its order,
// pinned buffers that weights stream through, recordings as CUDA graphs.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "cuda/gpu_runtime.h"
#include "ops/device.h"

namespace dsv3 {

struct CudaDeviceOptions {
  int ordinal = 0;
  uint64_t ceiling_bytes = 0;  // 0 = none
  bool high_priority = false;
};

// Everything made by it (blocks, markers, recordings) is destroyed before it.
class CudaDevice final : public Device {
 public:
  // Pinned memory that weights stream through, taken by the first upload.
  static constexpr uint64_t kUploadPieceBytes = 8 << 20;
  static constexpr uint32_t kUploadPieces = 3;
  static constexpr uint64_t kUploadRingBytes = kUploadPieces * kUploadPieceBytes;

  // UNSUPPORTED with the reason when there is no such device, no driver, or an older one than
  // compute capability 8.0. Pinned memory counts against the ceiling of `host_allocator`, which
  // outlives the device.
  CudaDevice(const CudaDeviceOptions& options, const Allocator& host_allocator);
  ~CudaDevice() override;
  CudaDevice(const CudaDevice&) = delete;
  CudaDevice& operator=(const CudaDevice&) = delete;

  std::string description() const override;
  bool reads_host_memory() const override { return false; }
  uint32_t passes_ahead() const override { return 1; }
  Block allocate(uint64_t bytes, std::string_view what) override;
  Block allocate_host(uint64_t bytes, std::string_view what) override;
  Weight load(const TensorView& tensor, const TensorView* scales) override;
  uint64_t weight_bytes(const Shape& shape, DType dtype) const override;
  Weight place(const Shape& shape, DType dtype, std::byte* memory) const override;
  void upload(const Weight& weight, uint64_t offset, const void* host, uint64_t bytes) override;
  void upload_scales(const Weight& weight, const float* host) override;
  void copy_to_device(void* device, const void* host, uint64_t bytes) override;
  void copy_to_host(void* host, const void* device, uint64_t bytes) override;
  void fill_zero(void* device, uint64_t bytes) override;
  void synchronize() override;
  std::unique_ptr<Marker> make_marker() override;
  void mark(Marker& marker) override;
  void wait(Marker& marker) override;
  std::unique_ptr<Recording> record(const std::function<void()>& ops) override;
  void replay(Recording& recording) override;

  // --- for CudaOps
  gpu::Stream* stream() const { return stream_.get(); }
  const gpu::Properties& properties() const { return properties_; }
  // Throws for a code that is not 0: OUT_OF_MEMORY for refused memory, BUSY while a recording on
  // another thread forbids the call, else DEVICE_LOST, kept as the first cause. `what`: the
  // operation.
  void check(int error, std::string_view what);
  // Makes this thread speak to this device; throws the first cause once there is one. First line of
  // every call.
  void enter();

  // Bytes of the GPU that went to the driver while this device was made, as far as the runtime
  // shows it: what its very first call in the process took is not visible from inside.
  uint64_t driver_bytes() const { return driver_bytes_; }
  const Allocator& memory() const { return memory_; }  // the GPU's
  const Allocator& pinned() const { return pinned_; }

 private:
  struct Destroy {
    void operator()(gpu::Stream* stream) const noexcept { gpu::stream_destroy(stream); }
    void operator()(gpu::Event* event) const noexcept { gpu::event_destroy(event); }
  };
  // A third of staging_memory_.
  struct Staging {
    std::byte* data = nullptr;
    std::unique_ptr<gpu::Event, Destroy> left;  // reached when its last upload has left it
  };

  Allocator::Hook gpu_hook();
  Allocator::Hook pinned_hook();
  Block take(Allocator& allocator, uint64_t bytes, std::string_view what);
  void load_kernels();
  std::unique_ptr<Recording> try_record(const std::function<void()>& ops);
  void make_staging();
  Staging& next_staging();
  void enter_to_wait();

  const CudaDeviceOptions options_;
  const Allocator& host_allocator_;
  gpu::Properties properties_;
  uint64_t driver_bytes_ = 0;
  int refusal_ = 0;  // why the last allocation of memory_ or pinned_ failed
  std::string first_cause_;
  bool is_recording_ = false;
  bool is_disturbed_ = false;  // the recording

  Allocator memory_;
  Allocator pinned_;
  std::unique_ptr<gpu::Stream, Destroy> stream_;
  Block staging_memory_;  // taken by the first upload
  std::array<Staging, kUploadPieces> staging_;
  uint32_t staging_next_ = 0;
};

}  // namespace dsv3
