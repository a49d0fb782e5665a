// Where bytes live and in which order things happen: memory, weights, copies. No math.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/allocator.h"
#include "base/view.h"
#include "ops/args.h"

namespace dsv3 {

class Device {
 public:
  virtual ~Device() = default;

  // For context_info: "cpu".
  virtual std::string description() const = 0;

  // True when ops read host memory directly, so that mapped weights are used in place.
  virtual bool reads_host_memory() const = 0;

  // Device memory inside this device's ceiling. OUT_OF_MEMORY or LIMIT naming `what`.
  virtual Block allocate(uint64_t bytes, std::string_view what) = 0;

  // Makes a weight of a tensor [rows, cols] or [cols] in host memory that outlives the device, in
  // place where reads_host_memory(). `scales` (F32 [ceil(rows/128), ceil(cols/128)]) only for
  // F8E4M3. The caller has checked shapes and dtypes; misaligned bytes are the caller's to copy
  // first.
  virtual Weight load(const TensorView& tensor, const TensorView* scales) = 0;

  // Copies in device order. Host ranges must stay valid until synchronize().
  virtual void copy_to_device(void* device, const void* host, uint64_t bytes) = 0;
  virtual void copy_to_host(void* host, const void* device, uint64_t bytes) = 0;
  // Returns when everything enqueued so far has happened.
  virtual void synchronize() = 0;
};

}  // namespace dsv3
