// Where bytes live and in which order things happen: memory, weights, copies, recordings. No math.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/allocator.h"
#include "base/view.h"
#include "ops/args.h"

namespace dsv3 {

// A run of ops with everything but their memory's contents frozen. Belongs to its device.
class Recording {
 public:
  virtual ~Recording() = default;
};

// A point in the device's order of work. Belongs to its device; may be marked again and again.
class Marker {
 public:
  virtual ~Marker() = default;
};

// Everything enqueued happens in the order of the calls. One thread at a time. Any call may throw
// DEVICE_LOST: then the first cause is in the message, and every later call throws it again.
class Device {
 public:
  virtual ~Device() = default;

  // For context_info: "cpu", "cuda 0: NVIDIA H100".
  virtual std::string description() const = 0;

  // True when ops and host share memory: mapped weights are used in place, copies are assignments.
  virtual bool reads_host_memory() const = 0;
  // Passes that may be enqueued before the results of the one before are read: 0 or 1.
  virtual uint32_t passes_ahead() const = 0;

  // Device memory inside this device's ceiling. OUT_OF_MEMORY or LIMIT naming `what`.
  virtual Block allocate(uint64_t bytes, std::string_view what) = 0;
  // Host memory that copies are fast from and to (pinned where that means anything).
  virtual Block allocate_host(uint64_t bytes, std::string_view what) = 0;

  // --- weights
  // A weight in `tensor`'s own memory, which outlives the device. Only where reads_host_memory().
  // `scales` (F32 [ceil(rows/128), ceil(cols/128)]) only for F8E4M3. The caller has checked shapes,
  // dtypes and alignment.
  virtual Weight load(const TensorView& tensor, const TensorView* scales) = 0;
  // Bytes that a weight of this shape ([rows, cols] or [cols]) takes in device memory, scales
  // included; a multiple of 256.
  virtual uint64_t weight_bytes(const Shape& shape, DType dtype) const = 0;
  // A weight in `memory`, 256-byte aligned and weight_bytes() long, not filled yet.
  virtual Weight place(const Shape& shape, DType dtype, std::byte* memory) const = 0;
  // Fills `bytes` of a placed weight, or of its scales, from `offset` on, counted as in the file
  // (rows without gaps). `host` may be used again when the call returns.
  virtual void upload(const Weight& weight, uint64_t offset, const void* host, uint64_t bytes) = 0;
  virtual void upload_scales(const Weight& weight, const float* host) = 0;

  // --- order
  // Copies in device order. Host ranges must stay valid until what follows has been waited for;
  // copies are only asynchronous from and to memory of allocate_host.
  virtual void copy_to_device(void* device, const void* host, uint64_t bytes) = 0;
  virtual void copy_to_host(void* host, const void* device, uint64_t bytes) = 0;
  virtual void fill_zero(void* device, uint64_t bytes) = 0;
  // Returns when everything enqueued so far has happened.
  virtual void synchronize() = 0;
  virtual std::unique_ptr<Marker> make_marker() = 0;
  virtual void mark(Marker& marker) = 0;
  // Returns when everything enqueued before the last mark() has happened.
  virtual void wait(Marker& marker) = 0;

  // --- recordings (design §4): launch once what is launched again and again
  // Records what `ops` enqueues, without running it; null where this device gains nothing by it or
  // others of the process disturb it. `ops` may be called more than once.
  virtual std::unique_ptr<Recording> record(const std::function<void()>& ops) = 0;
  virtual void replay(Recording& recording) = 0;
};

}  // namespace dsv3
