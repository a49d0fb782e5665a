// src/cuda/gpu_runtime.h on the emulated devices. Copies follow CUDA's rules: from ordinary host
// memory the bytes are taken at the call, from pinned memory when the copy runs; to ordinary host
// memory the call waits. A recorded copy reads and writes host memory at each replay.
#include <cstring>
#include <new>
#include <string>

#include "cuda/gpu_runtime.h"
#include "emulation/emulated_state.h"
#include "emulation/emulated_stream.h"

namespace dsv3::gpu {
namespace {

using emulated::Count;
using emulated::Memory;
using emulated::Work;
using emulated::WorkPointer;

// Recordings of this thread; meanwhile it may neither wait nor allocate (as CUDA's thread-local
// capture mode has it).
thread_local int recordings_of_thread = 0;

class CopyToDevice final : public Work {
 public:
  CopyToDevice(void* device, const void* host, uint64_t bytes, bool pinned)
      : device_(device), host_(host), bytes_(bytes), pinned_(pinned) {}

  int run(Stream& /*stream*/) const override {
    emulated::count(Count::kCopies);
    std::memcpy(device_, host_ == nullptr ? this + 1 : host_, bytes_);
    return 0;
  }
  uint32_t pinned_reads() const override { return pinned_ ? 1 : 0; }
  void* own_bytes() { return this + 1; }

 private:
  void* const device_;
  const void* const host_;  // null: the bytes that follow the object
  const uint64_t bytes_;
  const bool pinned_;
};

class CopyToHost final : public Work {
 public:
  CopyToHost(void* host, const void* device, uint64_t bytes, bool pinned)
      : host_(host), device_(device), bytes_(bytes), pinned_(pinned) {}

  int run(Stream& /*stream*/) const override {
    emulated::count(Count::kCopies);
    std::memcpy(host_, device_, bytes_);
    return 0;
  }
  void spoil_results() const override {
    if (pinned_) std::memset(host_, 0xFF, bytes_);
  }

 private:
  void* const host_;
  const void* const device_;
  const uint64_t bytes_;
  const bool pinned_;
};

class FillZero final : public Work {
 public:
  FillZero(void* device, uint64_t bytes) : device_(device), bytes_(bytes) {}

  int run(Stream& /*stream*/) const override {
    std::memset(device_, 0, bytes_);
    return 0;
  }

 private:
  void* const device_;
  const uint64_t bytes_;
};

class Replay final : public Work {
 public:
  explicit Replay(std::shared_ptr<const emulated::WorkList> nodes) : nodes_(std::move(nodes)) {}

  int run(Stream& stream) const override {
    emulated::count(Count::kReplays);
    for (const Work* node = nodes_->first(); node != nullptr; node = node->next) {
      const int error = node->run(stream);
      if (error != 0) return error;
    }
    return 0;
  }
  uint32_t pinned_reads() const override {
    uint32_t reads = 0;
    for (const Work* node = nodes_->first(); node != nullptr; node = node->next) {
      reads += node->pinned_reads();
    }
    return reads;
  }
  void spoil_results() const override {
    for (const Work* node = nodes_->first(); node != nullptr; node = node->next) {
      node->spoil_results();
    }
  }

 private:
  const std::shared_ptr<const emulated::WorkList> nodes_;
};

int refused_while_recording(const char* call) {
  return emulated::new_error(std::string(call) + " on a thread that records");
}

// The device memory of a copy lies in one allocation; its host memory is none of the device's.
int check_copy(const void* device, const void* host, uint64_t bytes) {
  if (!emulated::is_inside(Memory::kDevice, device, bytes)) {
    return emulated::new_error("a copy of " + std::to_string(bytes) +
                               " bytes reaches beyond its device allocation");
  }
  if (host != nullptr && emulated::is_inside(Memory::kDevice, host, 1)) {
    return emulated::new_error("a copy whose host address is device memory");
  }
  return 0;
}

bool is_recording(Stream& stream) {
  const std::lock_guard lock(stream.mutex);
  return stream.recording != nullptr;
}

int allocate_memory(Memory kind, uint64_t bytes, void** out) {
  *out = nullptr;
  if (recordings_of_thread > 0) return refused_while_recording("allocation");
  const int ordinal = emulated::current_device();
  const int sticky = emulated::sticky_error(ordinal);
  return sticky != 0 ? sticky : emulated::take_memory(kind, ordinal, bytes, out);
}

// CUDA lets the device finish before memory goes. Memory goes also after a failure.
int release_memory(Memory kind, void* memory) {
  if (memory == nullptr) return 0;
  for (int ordinal = 0; ordinal < emulated::kDevices; ++ordinal) {
    emulated::run_all_streams(ordinal);
  }
  const int error = emulated::give_memory(kind, memory);
  return error != 0 ? error : emulated::sticky_error(emulated::current_device());
}

}  // namespace

const char* backend_name() { return "cuda emulated"; }

int device_count(std::string* why_none) {
  const int count = emulated::settings().device_count;
  if (count == 0) *why_none = "the emulator was told to have no GPU";
  return count;
}

int properties(int ordinal, Properties* out) {
  const emulated::Settings set = emulated::settings();
  if (ordinal < 0 || ordinal >= set.device_count) {
    return emulated::new_error("no device " + std::to_string(ordinal));
  }
  out->name = "Emulated GPU";
  out->major = set.capability / 10;
  out->minor = set.capability % 10;
  out->multiprocessors = set.multiprocessors;
  out->shared_bytes_max = emulated::shared_bytes_max(set.capability);
  out->memory_bytes = set.memory_bytes;
  return 0;
}

int memory_info(int ordinal, uint64_t* free_bytes, uint64_t* total_bytes) {
  const int error = use_device(ordinal);
  if (error != 0) return error;
  *total_bytes = emulated::settings().memory_bytes;
  *free_bytes = *total_bytes - emulated::bytes_in_use(ordinal);
  return 0;
}

int use_device(int ordinal) {
  if (emulated::set_current_device(ordinal)) return 0;
  return emulated::new_error("no device " + std::to_string(ordinal));
}

int current_context(void** out) {
  *out = const_cast<void*>(emulated::current_context());
  return 0;
}
int set_current_context(void* context) {
  emulated::set_current_context(context);
  return 0;
}

int allocate(uint64_t bytes, void** out) { return allocate_memory(Memory::kDevice, bytes, out); }
int release(void* memory) { return release_memory(Memory::kDevice, memory); }
int allocate_pinned(uint64_t bytes, void** out) {
  return allocate_memory(Memory::kPinned, bytes, out);
}
int release_pinned(void* memory) { return release_memory(Memory::kPinned, memory); }

int stream_create(bool /*high_priority*/, Stream** out) {
  *out = nullptr;
  const int ordinal = emulated::current_device();
  const int sticky = emulated::sticky_error(ordinal);
  if (sticky != 0) return sticky;
  *out = emulated::add_stream(ordinal);
  if (*out == nullptr) return emulated::kOutOfMemory;
  emulated::count_object(1);
  return 0;
}

int stream_destroy(Stream* stream) {
  const std::shared_ptr<Stream> found = emulated::find_stream(stream);
  if (found == nullptr) return emulated::new_error("destroys a stream that does not exist");
  const int error = found->run_all();
  emulated::remove_stream(stream);
  emulated::count_object(-1);
  return error;
}

int stream_wait(Stream* stream) {
  const int error = stream->check();
  if (error != 0) return error;
  if (is_recording(*stream) || recordings_of_thread > 0) return refused_while_recording("a wait");
  emulated::count(Count::kWaits);
  return stream->run_all();
}

int copy_to_device(void* device, const void* host, uint64_t bytes, Stream* stream) {
  int error = stream->check();
  if (error == 0) error = check_copy(device, host, bytes);
  if (error != 0 || bytes == 0) return error;
  const bool pinned = emulated::is_inside(Memory::kPinned, host, bytes);
  if (pinned || is_recording(*stream)) {
    return stream->enqueue(emulated::make_work<CopyToDevice>(0, device, host, bytes, pinned));
  }
  WorkPointer work = emulated::make_work<CopyToDevice>(bytes, device, nullptr, bytes, false);
  if (work == nullptr) return emulated::kOutOfMemory;
  std::memcpy(static_cast<CopyToDevice&>(*work).own_bytes(), host, bytes);
  return stream->enqueue(std::move(work));
}

int copy_to_host(void* host, const void* device, uint64_t bytes, Stream* stream) {
  int error = stream->check();
  if (error == 0) error = check_copy(device, host, bytes);
  if (error != 0 || bytes == 0) return error;
  const bool pinned = emulated::is_inside(Memory::kPinned, host, bytes);
  error = stream->enqueue(emulated::make_work<CopyToHost>(0, host, device, bytes, pinned));
  return error != 0 || pinned || is_recording(*stream) ? error : stream->run_all();
}

int fill_zero(void* device, uint64_t bytes, Stream* stream) {
  int error = stream->check();
  if (error == 0) error = check_copy(device, nullptr, bytes);
  if (error != 0 || bytes == 0) return error;
  return stream->enqueue(emulated::make_work<FillZero>(0, device, bytes));
}

int event_create(Event** out) {
  *out = new (std::nothrow) Event;
  if (*out == nullptr) return emulated::kOutOfMemory;
  emulated::count_object(1);
  return 0;
}

int event_destroy(Event* event) {
  if (event != nullptr) emulated::count_object(-1);
  delete event;
  return 0;
}

int event_record(Event* event, Stream* stream) {
  const int error = stream->check();
  if (error != 0) return error;
  const std::shared_ptr<Stream> found = emulated::find_stream(stream);
  const std::lock_guard lock(stream->mutex);
  if (stream->recording != nullptr) return refused_while_recording("an event");
  event->stream = found;
  event->position = stream->enqueued;
  return 0;
}

int event_wait(Event* event) {
  if (recordings_of_thread > 0) return refused_while_recording("a wait");
  if (event->stream == nullptr) return 0;
  emulated::count(Count::kWaits);
  return event->stream->run_until(event->position);
}

int record_begin(Stream* stream) {
  const int error = stream->check();
  if (error != 0) return error;
  const std::lock_guard lock(stream->mutex);
  if (stream->recording != nullptr) return emulated::new_error("the stream records already");
  try {
    stream->recording = std::make_unique<Graph>();
  } catch (const std::bad_alloc&) {
    return emulated::kOutOfMemory;
  }
  ++recordings_of_thread;
  return 0;
}

int record_end(Stream* stream, Graph** out) {
  *out = nullptr;
  const std::lock_guard lock(stream->mutex);
  if (stream->recording == nullptr) return emulated::new_error("the stream does not record");
  --recordings_of_thread;
  std::unique_ptr<Graph> recorded = std::move(stream->recording);
  const int sticky = emulated::sticky_error(stream->ordinal);
  if (sticky != 0) return sticky;
  if (emulated::recording_is_due_to_fail()) return emulated::kRecordingDisturbed;
  *out = recorded.release();
  emulated::count_object(1);
  return 0;
}

int graph_launch(Graph* graph, Stream* stream) {
  const int error = stream->check();
  if (error != 0) return error;
  if (is_recording(*stream)) return refused_while_recording("a replay");
  return stream->enqueue(emulated::make_work<Replay>(0, graph->nodes));
}

int graph_destroy(Graph* graph) {
  if (graph != nullptr) emulated::count_object(-1);
  delete graph;
  return 0;
}

std::string error_text(int error) { return emulated::text_of_error(error); }
bool is_out_of_memory(int error) { return error == emulated::kOutOfMemory; }
bool is_recording_disturbed(int error) { return error == emulated::kRecordingDisturbed; }

}  // namespace dsv3::gpu
