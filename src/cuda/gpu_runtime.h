// What src/cuda needs of a GPU runtime, as plain functions: memory, order, copies, recordings.
// Implemented twice: gpu_runtime_cudart.cpp (the CUDA runtime, linked statically) and, in tests,
// tests/emulation. Every int result is 0 or an error code for error_text().
#pragma once

#include <cstdint>
#include <string>

namespace dsv3::gpu {

struct Stream;  // work in order
struct Event;   // a point in a stream
struct Graph;   // a recorded run of launches, ready to be started again

struct Properties {
  std::string name;
  int major = 0;  // compute capability
  int minor = 0;
  int multiprocessors = 0;
  uint64_t shared_bytes_max = 0;  // of one block, after asking for it
  uint64_t memory_bytes = 0;
};

// For dsv3_build_info: "cuda 13.0", "cuda emulated".
const char* backend_name();

// Devices of this machine; 0 and the reason when there is no usable driver or GPU.
int device_count(std::string* why_none);
int properties(int ordinal, Properties* out);
int memory_info(int ordinal, uint64_t* free_bytes, uint64_t* total_bytes);

// The device of all further calls of this thread.
int use_device(int ordinal);
// The context that this thread has with the driver, null for none: what use_device changes. It may
// be one that somebody else made, for GPU work of his own.
int current_context(void** out);
int set_current_context(void* context);

int allocate(uint64_t bytes, void** out);
int release(void* memory);
int allocate_pinned(uint64_t bytes, void** out);
int release_pinned(void* memory);

// `high_priority`: its blocks go before those of other streams of the device.
int stream_create(bool high_priority, Stream** out);
int stream_destroy(Stream* stream);
int stream_wait(Stream* stream);  // until all its work is done

int copy_to_device(void* device, const void* host, uint64_t bytes, Stream* stream);
int copy_to_host(void* host, const void* device, uint64_t bytes, Stream* stream);
int fill_zero(void* device, uint64_t bytes, Stream* stream);

int event_create(Event** out);
int event_destroy(Event* event);
int event_record(Event* event, Stream* stream);
int event_wait(Event* event);  // until the recorded point is reached

// Between begin and end launches and copies of `stream` are recorded and not run.
int record_begin(Stream* stream);
int record_end(Stream* stream, Graph** out);
int graph_launch(Graph* graph, Stream* stream);
int graph_destroy(Graph* graph);

// Name and explanation: "cudaErrorIllegalAddress (an illegal memory access was encountered)".
std::string error_text(int error);
// A failure that leaves the device usable.
bool is_out_of_memory(int error);
// A recording ended, or a call was refused, because of what another thread did or does: the device
// is as good as before.
bool is_recording_disturbed(int error);

}  // namespace dsv3::gpu
