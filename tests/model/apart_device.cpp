#include "model/apart_device.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "base/checked.h"

namespace dsv3::testing {
namespace {

constexpr uint64_t kPage = 4096;

struct ApartMarker final : Marker {
  uint64_t at = 0;  // work enqueued before the last mark
};

struct ApartRecording final : Recording {
  std::vector<std::function<void()>> works;
};

}  // namespace

ApartDevice::ApartDevice()
    : memory_(hook(ranges_), 0), host_memory_(hook(host_ranges_), 0), cpu_(memory_) {}

ApartDevice::~ApartDevice() = default;

Allocator::Hook ApartDevice::hook(std::vector<Range>& ranges) {
  return {
      .allocate = [](void* self, uint64_t bytes, uint64_t) -> void* {
        void* memory = mmap(nullptr, align_up(bytes, kPage), PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) return nullptr;
        std::memset(memory, 0xff, bytes);  // NaN, and no index that would do
        static_cast<std::vector<Range>*>(self)->push_back({static_cast<std::byte*>(memory), bytes});
        return memory;
      },
      .release =
          [](void* self, void* memory, uint64_t bytes) {
            std::erase_if(*static_cast<std::vector<Range>*>(self),
                          [memory](const Range& range) { return range.begin == memory; });
            munmap(memory, align_up(bytes, kPage));
          },
      .user_data = &ranges};
}

void ApartDevice::protect(bool is_open) {
  for (const Range& range : ranges_) {
    const int access = is_open ? PROT_READ | PROT_WRITE : PROT_NONE;
    if (mprotect(range.begin, align_up(range.bytes, kPage), access) != 0) {
      throw std::runtime_error("mprotect");
    }
  }
}

void ApartDevice::enqueue(Work work) {
  if (recording_ != nullptr) {
    recording_->push_back(std::move(work));
    return;
  }
  queue_.push_back(std::move(work));
  ++enqueued_;
}

void ApartDevice::enqueue_op(std::function<void()> op) {
  if (recording_ == nullptr) ++counts_.ops;
  enqueue(std::move(op));
}

void ApartDevice::run_until(uint64_t done) {
  DSV3_ASSERT(recording_ == nullptr);
  if (done_ >= done) return;
  protect(true);
  while (done_ < done) {
    const Work work = std::move(queue_.front());
    queue_.pop_front();
    ++done_;
    work();
  }
  protect(false);
}

bool ApartDevice::is_host_block(const void* host) const {
  return std::any_of(host_ranges_.begin(), host_ranges_.end(), [host](const Range& range) {
    return host >= range.begin && host < range.begin + range.bytes;
  });
}

void ApartDevice::copy(Work work, const void* host) {
  DSV3_ASSERT(recording_ == nullptr);
  enqueue(std::move(work));
  if (!is_host_block(host)) run_until(enqueued_);
}

Block ApartDevice::allocate(uint64_t bytes, std::string_view what) {
  Block block(memory_, bytes, what, 256);
  protect(false);
  return block;
}

Block ApartDevice::allocate_host(uint64_t bytes, std::string_view what) {
  return Block(host_memory_, bytes, what);
}

Weight ApartDevice::load(const TensorView&, const TensorView*) {
  throw std::logic_error("a weight in host memory");
}

uint64_t ApartDevice::weight_bytes(const Shape& shape, DType dtype) const {
  return cpu_.weight_bytes(shape, dtype);
}

Weight ApartDevice::place(const Shape& shape, DType dtype, std::byte* memory) const {
  return cpu_.place(shape, dtype, memory);
}

void ApartDevice::upload(const Weight& weight, uint64_t offset, const void* host, uint64_t bytes) {
  const auto* const begin = static_cast<const std::byte*>(host);
  enqueue([this, weight, offset, data = std::vector<std::byte>(begin, begin + bytes)] {
    cpu_.upload(weight, offset, data.data(), data.size());
  });
}

void ApartDevice::upload_scales(const Weight& weight, const float* host) {
  const uint64_t count = uint64_t{ceil_div(weight.rows, kBlock)} * ceil_div(weight.cols, kBlock);
  enqueue([this, weight, data = std::vector<float>(host, host + count)] {
    cpu_.upload_scales(weight, data.data());
  });
}

void ApartDevice::copy_to_device(void* device, const void* host, uint64_t bytes) {
  ++counts_.copies_to_device;
  counts_.bytes_to_device += bytes;
  copy([=] { std::memcpy(device, host, bytes); }, host);
}

void ApartDevice::copy_to_host(void* host, const void* device, uint64_t bytes) {
  ++counts_.copies_to_host;
  copy([=] { std::memcpy(host, device, bytes); }, host);
}

void ApartDevice::fill_zero(void* device, uint64_t bytes) {
  enqueue([=] { std::memset(device, 0, bytes); });
}

void ApartDevice::synchronize() {
  ++counts_.synchronized;
  run_until(enqueued_);
}

std::unique_ptr<Marker> ApartDevice::make_marker() { return std::make_unique<ApartMarker>(); }

void ApartDevice::mark(Marker& marker) {
  DSV3_ASSERT(recording_ == nullptr);
  static_cast<ApartMarker&>(marker).at = enqueued_;
}

void ApartDevice::wait(Marker& marker) { run_until(static_cast<ApartMarker&>(marker).at); }

std::unique_ptr<Recording> ApartDevice::record(const std::function<void()>& ops) {
  DSV3_ASSERT(recording_ == nullptr);
  auto recording = std::make_unique<ApartRecording>();
  recording_ = &recording->works;
  ops();
  recording_ = nullptr;
  ++counts_.recorded;
  return recording;
}

void ApartDevice::replay(Recording& recording) {
  ++counts_.replayed;
  for (const Work& work : static_cast<ApartRecording&>(recording).works) enqueue(work);
}

void ApartOps::do_take_tokens(const TakeTokensArgs& args) {
  device_.enqueue_op([this, args] { ops_->take_tokens(args); });
}
void ApartOps::do_embed(const EmbedArgs& args) {
  device_.enqueue_op([this, args] { ops_->embed(args); });
}
void ApartOps::do_add_norm(const AddNormArgs& args) {
  if (args.out_codes.present()) ++counts_.codes_written;
  AddNormArgs plain = args;
  plain.out_codes = {};
  device_.enqueue_op([this, plain] { ops_->add_norm(plain); });
}
void ApartOps::do_rms_norm(const RmsNormArgs& args) {
  device_.enqueue_op([this, args] { ops_->rms_norm(args); });
}
void ApartOps::do_linear(const LinearArgs& args) {
  if (args.x_codes.present()) ++counts_.codes_read;
  LinearArgs plain = args;
  plain.x_codes = {};
  device_.enqueue_op([this, plain] { ops_->linear(plain); });
}
// What the host says of the spans is looked at when the op is called, and only then.
void ApartOps::do_mla_append(const MlaAppendArgs& args) {
  const Batch& batch = args.batch;
  std::vector<BatchSpan> spans(batch.host_spans, batch.host_spans + batch.span_count);
  device_.enqueue_op([this, args, spans = std::move(spans)] {
    MlaAppendArgs own = args;
    own.batch.host_spans = spans.data();
    ops_->mla_append(own);
  });
}
void ApartOps::do_mla_attend(const MlaAttendArgs& args) {
  const Batch& batch = args.batch;
  std::vector<BatchSpan> spans(batch.host_spans, batch.host_spans + batch.span_count);
  device_.enqueue_op([this, args, spans = std::move(spans)] {
    MlaAttendArgs own = args;
    own.batch.host_spans = spans.data();
    ops_->mla_attend(own);
  });
}
void ApartOps::do_route(const RouteArgs& args) {
  device_.enqueue_op([this, args] { ops_->route(args); });
}
void ApartOps::do_expert_gate_up(const ExpertGateUpArgs& args) {
  if (args.x_codes.present()) ++counts_.codes_read;
  ExpertGateUpArgs plain = args;
  plain.x_codes = {};
  device_.enqueue_op([this, plain] { ops_->expert_gate_up(plain); });
}
void ApartOps::do_expert_down(const ExpertDownArgs& args) {
  device_.enqueue_op([this, args] { ops_->expert_down(args); });
}
void ApartOps::do_expert_combine(const ExpertCombineArgs& args) {
  device_.enqueue_op([this, args] { ops_->expert_combine(args); });
}
void ApartOps::do_swiglu(const SwigluArgs& args) {
  device_.enqueue_op([this, args] { ops_->swiglu(args); });
}
void ApartOps::do_copy_rows(const CopyRowsArgs& args) {
  device_.enqueue_op([this, args] { ops_->copy_rows(args); });
}
void ApartOps::do_sample(const SampleArgs& args) {
  device_.enqueue_op([this, args] { ops_->sample(args); });
}

}  // namespace dsv3::testing
