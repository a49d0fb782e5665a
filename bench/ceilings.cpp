#include "ceilings.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/platform.h"
#include "bench_clock.h"

#if defined(__linux__)
#  include <sys/mman.h>
#endif

namespace dsv3::bench {
namespace {

constexpr uint64_t kLargePage = 2u << 20;
constexpr uint64_t kSinkBytes = 4096;

}  // namespace

void Ceilings::raise(const Ceilings& other) {
  read_bytes = std::max(read_bytes, other.read_bytes);
  bf16_ops = std::max(bf16_ops, other.bf16_ops);
  f32_ops = std::max(f32_ops, other.f32_ops);
  int8_ops = std::max(int8_ops, other.int8_ops);
}

ReadBuffer::ReadBuffer(uint64_t bytes)
    : data_(static_cast<std::byte*>(platform_aligned_allocate(bytes, kLargePage))), bytes_(bytes) {
  if (data_ == nullptr) fail(Status::kOutOfMemory, "no ", bytes, " bytes to read");
#if defined(__linux__)
  madvise(data_, bytes, MADV_HUGEPAGE);  // a hint
#endif
  std::memset(data_, 0x5a, bytes);
}

ReadBuffer::~ReadBuffer() { platform_aligned_release(data_); }

CeilingMeter::CeilingMeter(const CeilingOptions& options, std::shared_ptr<const ReadBuffer> buffer)
    : options_(options),
      loops_(ceiling_loops(options.level)),
      buffer_(std::move(buffer)),
      pool_(ThreadPoolOptions{.threads = options.threads}),
      operands_(new std::byte[options.threads * (kTileOperandBytes + kSinkBytes)]) {
  // 0x3c.. is a number near 0.01 in BF16 and F32; as bytes, sums stay small.
  std::memset(operands_.get(), 0x3c, options.threads * (kTileOperandBytes + kSinkBytes));
}

CeilingMeter::~CeilingMeter() = default;

// Bytes per second of the first `bytes` of the buffer, shared out evenly.
double CeilingMeter::read_once(uint32_t way, uint64_t bytes) {
  const uint64_t part = bytes / options_.threads / kReadGrain * kReadGrain;
  std::vector<uint64_t> sums(options_.threads);
  pool_.enter();
  const double begin = now();
  pool_.run(options_.threads, [&](uint32_t task, uint32_t) {
    sums[task] = loops_.read[way](buffer_->data() + task * part, part);
  });
  const double seconds = now() - begin;
  pool_.leave();
  // Stored where the compiler cannot tell that nobody looks.
  for (const uint64_t sum : sums) sink_ = sum;
  return static_cast<double>(part * options_.threads) / seconds;
}

double CeilingMeter::read() {
  double best = 0.0;
  const double fastest = *std::max_element(best_read_, best_read_ + kReadWays);
  for (uint32_t way = 0; way < kReadWays; ++way) {
    // What has been tried and lost clearly is not tried again.
    const bool has_lost = best_read_[way] > 0.0 && best_read_[way] < fastest * 0.85;
    if (loops_.read[way] == nullptr || has_lost) continue;
    const double rate = read_once(way, buffer_->bytes());
    best_read_[way] = std::max(best_read_[way], rate);
    best = std::max(best, rate);
  }
  return best;
}

void CeilingMeter::sweep(uint64_t bytes) { read_once(0, std::min(bytes, buffer_->bytes())); }

double CeilingMeter::tile(TileLoop loop) {
  std::byte* const sinks = operands_.get() + options_.threads * kTileOperandBytes;
  const auto once = [&](uint32_t rounds) {
    std::vector<double> operations(options_.threads);
    pool_.enter();
    const double begin = now();
    pool_.run(options_.threads, [&](uint32_t task, uint32_t) {
      operations[task] =
          loop(operands_.get() + task * kTileOperandBytes, rounds, sinks + task * kSinkBytes);
    });
    const double seconds = now() - begin;
    pool_.leave();
    double sum = 0.0;
    for (const double each : operations) sum += each;
    return std::pair(sum / seconds, seconds);
  };
  const auto [rate, seconds] = once(64);
  (void)rate;
  const double rounds = std::clamp(64.0 * options_.tile_seconds / seconds, 1.0, 1e8);
  return once(static_cast<uint32_t>(rounds)).first;
}

double CeilingMeter::bf16() { return tile(loops_.bf16); }
double CeilingMeter::f32() { return tile(loops_.f32); }
double CeilingMeter::int8() { return tile(loops_.int8); }

Ceilings CeilingMeter::measure(uint32_t times) {
  Ceilings best;
  for (uint32_t i = 0; i < times; ++i) {
    best.raise({.read_bytes = read(), .bf16_ops = bf16(), .f32_ops = f32(), .int8_ops = int8()});
  }
  return best;
}

std::string CeilingMeter::how() const {
  const auto way =
      static_cast<size_t>(std::max_element(best_read_, best_read_ + kReadWays) - best_read_);
  return str("read by ", way < 2 ? "one stream" : "four streams", " a thread",
             way % 2 == 0 ? "" : " with prefetch", "; bf16 by ", loops_.bf16_how, "; int8 by ",
             loops_.int8_how);
}

}  // namespace dsv3::bench
