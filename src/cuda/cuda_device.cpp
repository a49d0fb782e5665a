// How is a GPU spoken to: errors, memory, order and recordings. Weights are in cuda_weights.cpp.
#include "cuda/cuda_device.h"

#include <exception>

#include "base/checked.h"
#include "base/error.h"
#include "kernels/load_all.h"

namespace dsv3 {
namespace {

constexpr uint64_t kBlockAlignment = 256;
constexpr int kCapabilityMin = 80;

// Destructors run on whatever thread and after whatever failure: they set the device and ignore
// what the runtime says, which for a lost device is the same error again.
class CudaMarker final : public Marker {
 public:
  explicit CudaMarker(int ordinal) : ordinal_(ordinal) {}
  ~CudaMarker() override {
    if (event == nullptr) return;
    gpu::use_device(ordinal_);
    gpu::event_destroy(event);
  }
  CudaMarker(const CudaMarker&) = delete;
  CudaMarker& operator=(const CudaMarker&) = delete;
  gpu::Event* event = nullptr;

 private:
  const int ordinal_;
};

class CudaRecording final : public Recording {
 public:
  explicit CudaRecording(int ordinal) : ordinal_(ordinal) {}
  ~CudaRecording() override {
    if (graph == nullptr) return;
    gpu::use_device(ordinal_);
    gpu::graph_destroy(graph);
  }
  CudaRecording(const CudaRecording&) = delete;
  CudaRecording& operator=(const CudaRecording&) = delete;
  gpu::Graph* graph = nullptr;

 private:
  const int ordinal_;
};

gpu::Properties find_device(int ordinal) {
  std::string why_none;
  const int count = gpu::device_count(&why_none);
  if (count == 0) fail(Status::kUnsupported, "device cuda: ", why_none);
  if (ordinal < 0 || ordinal >= count) {
    fail(Status::kUnsupported, "device cuda ", ordinal, ": this machine has ", count,
         count == 1 ? " GPU" : " GPUs", ", wanted an ordinal of 0 to ", count - 1);
  }
  gpu::Properties found;
  const int error = gpu::properties(ordinal, &found);
  if (error != 0) {
    fail(Status::kUnsupported, "device cuda ", ordinal, ": ", gpu::error_text(error));
  }
  if (found.major * 10 + found.minor < kCapabilityMin) {
    fail(Status::kUnsupported, "device cuda ", ordinal, ": ", found.name,
         " has compute capability ", found.major, ".", found.minor, ", wanted 8.0 or newer");
  }
  return found;
}

}  // namespace

CudaDevice::CudaDevice(const CudaDeviceOptions& options, const Allocator& host_allocator)
    : options_(options),
      host_allocator_(host_allocator),
      properties_(find_device(options.ordinal)),
      memory_(gpu_hook(), options.ceiling_bytes),
      pinned_(pinned_hook(), 0) {
  enter();
  uint64_t free_before = 0;
  uint64_t free_after = 0;
  uint64_t total = 0;
  check(gpu::memory_info(options_.ordinal, &free_before, &total), "looking at the memory");
  gpu::Stream* stream = nullptr;
  check(gpu::stream_create(options_.high_priority, &stream), "making a stream");
  stream_.reset(stream);
  load_kernels();
  check(gpu::memory_info(options_.ordinal, &free_after, &total), "looking at the memory");
  if (free_after < free_before) driver_bytes_ = free_before - free_after;
}

CudaDevice::~CudaDevice() {
  gpu::use_device(options_.ordinal);
  // What is in flight may still use memory, also after a first cause that the GPU itself survived.
  gpu::stream_wait(stream_.get());
}

// A GPU between or beyond those that the kernels were built for is found out here.
void CudaDevice::load_kernels() {
  const int error = kernels::load_all();
  if (error == 0 || gpu::is_out_of_memory(error)) return check(error, "loading the kernels");
  fail(Status::kUnsupported, "device cuda ", options_.ordinal, ": ", properties_.name,
       " of compute capability ", properties_.major, ".", properties_.minor,
       " does not take this build's kernels: ", gpu::error_text(error));
}

std::string CudaDevice::description() const {
  return str("cuda ", options_.ordinal, ": ", properties_.name);
}

void CudaDevice::check(int error, std::string_view what) {
  if (error == 0) return;
  if (gpu::is_out_of_memory(error)) {
    fail(Status::kOutOfMemory, "cuda ", options_.ordinal, ": ", what, ": ", gpu::error_text(error));
  }
  if (gpu::is_recording_disturbed(error)) {
    is_disturbed_ = true;
    fail(Status::kBusy, "cuda ", options_.ordinal, ": ", what, ": ", gpu::error_text(error),
         ", wanted no recording of the host's on another thread");
  }
  if (first_cause_.empty()) {
    first_cause_ = str("cuda ", options_.ordinal, " is lost, first cause: ", what, ": ",
                       gpu::error_text(error));
  }
  throw Error(Status::kDeviceLost, first_cause_);
}

void CudaDevice::enter() {
  if (!first_cause_.empty()) throw Error(Status::kDeviceLost, first_cause_);
  check(gpu::use_device(options_.ordinal), "choosing the device");
}

// For calls that a recording cannot hold.
void CudaDevice::enter_to_wait() {
  DSV3_ASSERT(!is_recording_);
  enter();
}

// --- memory

Allocator::Hook CudaDevice::gpu_hook() {
  return {.allocate = [](void* self, uint64_t bytes, uint64_t) -> void* {
            auto& device = *static_cast<CudaDevice*>(self);
            void* memory = nullptr;
            device.refusal_ = gpu::allocate(bytes, &memory);
            return device.refusal_ == 0 ? memory : nullptr;
          },
          .release =
              [](void* self, void* memory, uint64_t) {
                gpu::use_device(static_cast<CudaDevice*>(self)->options_.ordinal);
                gpu::release(memory);
              },
          .user_data = this};
}

Allocator::Hook CudaDevice::pinned_hook() {
  return {.allocate = [](void* self, uint64_t bytes, uint64_t) -> void* {
            auto& device = *static_cast<CudaDevice*>(self);
            void* memory = nullptr;
            device.refusal_ = gpu::allocate_pinned(bytes, &memory);
            return device.refusal_ == 0 ? memory : nullptr;
          },
          .release =
              [](void* self, void* memory, uint64_t) {
                const auto& device = *static_cast<CudaDevice*>(self);
                gpu::use_device(device.options_.ordinal);
                // Unlike the GPU's, this memory may go while a copy still uses it.
                gpu::stream_wait(device.stream_.get());
                gpu::release_pinned(memory);
              },
          .user_data = this};
}

// A refusal in the GPU's words: the allocator only knows that its source said no.
Block CudaDevice::take(Allocator& allocator, uint64_t bytes, std::string_view what) {
  enter_to_wait();
  refusal_ = 0;
  try {
    return Block(allocator, bytes, what, kBlockAlignment);
  } catch (const Error& error) {
    if (refusal_ == 0) throw;
    uint64_t free_bytes = 0;
    uint64_t total = 0;
    if (gpu::memory_info(options_.ordinal, &free_bytes, &total) != 0) total = free_bytes = 0;
    check(refusal_, str(what, ": ", bytes, " bytes asked for, ", allocator.bytes_held(), " held, ",
                        free_bytes, " of ", total, " free"));
    throw;
  }
}

Block CudaDevice::allocate(uint64_t bytes, std::string_view what) {
  return take(memory_, bytes, what);
}

Block CudaDevice::allocate_host(uint64_t bytes, std::string_view what) {
  const uint64_t ceiling = host_allocator_.ceiling_bytes();
  const uint64_t held = host_allocator_.bytes_held() + pinned_.bytes_held();
  const auto wanted = checked_add(held, bytes);
  if (ceiling != 0 && (!wanted || *wanted > ceiling)) {
    fail(Status::kLimit, what, ": ", bytes, " pinned bytes asked for and ", held,
         " held, over the host's ceiling of ", ceiling, " bytes");
  }
  return take(pinned_, bytes, what);
}

// --- order

void CudaDevice::copy_to_device(void* device, const void* host, uint64_t bytes) {
  enter();
  if (bytes == 0) return;
  check(gpu::copy_to_device(device, host, bytes, stream_.get()), "copying to the device");
}

void CudaDevice::copy_to_host(void* host, const void* device, uint64_t bytes) {
  enter();
  if (bytes == 0) return;
  check(gpu::copy_to_host(host, device, bytes, stream_.get()), "copying to the host");
}

void CudaDevice::fill_zero(void* device, uint64_t bytes) {
  enter();
  if (bytes == 0) return;
  check(gpu::fill_zero(device, bytes, stream_.get()), "filling with zeros");
}

void CudaDevice::synchronize() {
  enter_to_wait();
  check(gpu::stream_wait(stream_.get()), "waiting for the device");
}

std::unique_ptr<Marker> CudaDevice::make_marker() {
  enter();
  auto marker = std::make_unique<CudaMarker>(options_.ordinal);
  check(gpu::event_create(&marker->event), "making a marker");
  return marker;
}

void CudaDevice::mark(Marker& marker) {
  enter_to_wait();
  check(gpu::event_record(static_cast<CudaMarker&>(marker).event, stream_.get()), "marking");
}

void CudaDevice::wait(Marker& marker) {
  enter_to_wait();
  check(gpu::event_wait(static_cast<CudaMarker&>(marker).event), "waiting for a marker");
}

// --- recordings

std::unique_ptr<Recording> CudaDevice::record(const std::function<void()>& ops) {
  constexpr int kTries = 3;
  for (int i = 0; i < kTries; ++i) {
    std::unique_ptr<Recording> recording = try_record(ops);
    if (recording != nullptr) return recording;
  }
  return nullptr;
}

// Null when it was disturbed: a thread of the host that waits for the whole GPU meanwhile, say,
// ends every recording on it. The GPU itself is as good as before.
std::unique_ptr<Recording> CudaDevice::try_record(const std::function<void()>& ops) {
  enter_to_wait();
  auto recording = std::make_unique<CudaRecording>(options_.ordinal);
  check(gpu::record_begin(stream_.get()), "beginning a recording");
  is_recording_ = true;
  is_disturbed_ = false;
  std::exception_ptr failure;
  try {
    ops();
  } catch (...) {
    failure = std::current_exception();
  }
  is_recording_ = false;
  // The stream is free again, whatever it says.
  const int error = gpu::record_end(stream_.get(), &recording->graph);
  if (is_disturbed_ || gpu::is_recording_disturbed(error)) return nullptr;
  if (failure != nullptr) std::rethrow_exception(failure);
  check(error, "ending a recording");
  return recording;
}

void CudaDevice::replay(Recording& recording) {
  enter_to_wait();
  check(gpu::graph_launch(static_cast<CudaRecording&>(recording).graph, stream_.get()),
        "replaying a recording");
}

}  // namespace dsv3
