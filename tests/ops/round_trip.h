// One op's journey to a device and back: what it reads is copied there, what it writes is copied
// home, and what it must not touch is compared.
#pragma once

#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "ops/args.h"
#include "ops/device.h"

namespace dsv3::ops_test {

class RoundTrip {
 public:
  explicit RoundTrip(Device& device) : device_(device) {}

  // --- read by the op. Null stays null.
  template <typename T>
  T* in(const T* host, uint64_t count) {
    return host == nullptr ? nullptr : static_cast<T*>(send(host, count * sizeof(T)));
  }
  ConstRows in(const ConstRows& host) { return rows_of(host, true).view; }
  QuantRows in(const QuantRows& host, uint32_t rows) { return codes_of(host, rows, false); }
  Weight in(const Weight& host);
  const ExpertWeights* in(const ExpertWeights* host, uint32_t count);
  Batch in(const Batch& host);  // one for each journey
  LatentPages in(const LatentPages& host, const MlaShape& shape);

  // --- written by the op; nothing of the host's contents gets there
  template <typename T>
  T* out(T* host, uint64_t count) {
    return host == nullptr ? nullptr : fetch_later(host, empty(count * sizeof(T)), count);
  }
  Rows out(const Rows& host) { return writable(host, false); }
  QuantRows out(const QuantRows& host, uint32_t rows) { return codes_of(host, rows, true); }

  // --- both
  template <typename T>
  T* in_out(T* host, uint64_t count) {
    return host == nullptr ? nullptr : fetch_later(host, send(host, count * sizeof(T)), count);
  }
  Rows in_out(const Rows& host) { return writable(host, true); }
  LatentPages in_out(const LatentPages& host, const MlaShape& shape);
  // The device view of `host`, which lies inside `wider`, already sent.
  static Rows inside(const Rows& host, const Rows& wider) {
    Rows view = wider;
    view.rows = host.rows;
    view.cols = host.cols;
    return view;
  }

  // Waits for the op and brings everything home.
  void finish();

 private:
  // A matrix on the device: its rows padded to 16 bytes, and 16 bytes more that no op may read.
  struct DeviceRows {
    Rows view;
    uint64_t bytes = 0;
  };

  void* empty(uint64_t bytes);  // of 0xff: NaN in every format
  void* send(const void* host, uint64_t bytes);
  template <typename T>
  T* fetch_later(T* host, void* device, uint64_t count) {
    fetches_.push_back([this, host, device, count] { fetch(host, device, count * sizeof(T)); });
    return static_cast<T*>(device);
  }
  void fetch(void* host, const void* device, uint64_t bytes);
  DeviceRows rows_of(const ConstRows& host, bool with_contents);
  Rows writable(const Rows& host, bool with_contents);
  void fetch_rows(const Rows& host, const DeviceRows& from);
  QuantRows codes_of(const QuantRows& host, uint32_t rows, bool is_output);

  Device& device_;
  std::vector<Block> blocks_;
  std::vector<BatchSpan> host_spans_;
  std::vector<std::function<void()>> fetches_;
};

}  // namespace dsv3::ops_test
