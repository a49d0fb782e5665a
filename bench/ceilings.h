// How fast can this machine read and multiply at most, with so many threads and this instruction
// set? Measured by loops that do nothing else.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/thread_pool.h"
#include "ceiling_loops.h"
#include "cpu/cpu_ops.h"

namespace dsv3::bench {

// Per second, by all threads together; the best of what was measured.
struct Ceilings {
  double read_bytes = 0.0;
  double bf16_ops = 0.0;
  double f32_ops = 0.0;
  double int8_ops = 0.0;

  void raise(const Ceilings& other);
};

struct CeilingOptions {
  uint32_t threads = 1;
  CpuLevel level = CpuLevel::kScalar;
  uint64_t read_bytes = uint64_t{1280} << 20;  // more than any cache
  double tile_seconds = 0.02;                  // of one measurement of products
};

// Memory to be read: large pages where the system grants them, written once.
class ReadBuffer {
 public:
  explicit ReadBuffer(uint64_t bytes);  // OUT_OF_MEMORY
  ~ReadBuffer();
  ReadBuffer(const ReadBuffer&) = delete;
  ReadBuffer& operator=(const ReadBuffer&) = delete;
  const std::byte* data() const { return data_; }
  uint64_t bytes() const { return bytes_; }

 private:
  std::byte* data_;
  uint64_t bytes_;
};

class CeilingMeter {
 public:
  // Several meters may share one buffer.
  CeilingMeter(const CeilingOptions& options, std::shared_ptr<const ReadBuffer> buffer);
  ~CeilingMeter();
  CeilingMeter(const CeilingMeter&) = delete;
  CeilingMeter& operator=(const CeilingMeter&) = delete;

  // One measurement each. measure() takes the best of `times` of all four.
  double read();
  double bf16();
  double f32();
  double int8();
  Ceilings measure(uint32_t times);
  // Reads `bytes` by all threads, so that caches hold nothing else.
  void sweep(uint64_t bytes);
  // "vdpbf16ps, vpdpbusd, 4 streams"
  std::string how() const;

 private:
  double tile(TileLoop loop);
  double read_once(uint32_t way, uint64_t bytes);

  const CeilingOptions options_;
  const CeilingLoops loops_;
  const std::shared_ptr<const ReadBuffer> buffer_;
  ThreadPool pool_;
  std::unique_ptr<std::byte[]> operands_;  // [threads][kTileOperandBytes], then the sinks
  double best_read_[kReadWays] = {};
  volatile uint64_t sink_ = 0;
};

}  // namespace dsv3::bench
