// The GPU runtime as NVIDIA's: each function is one call of the CUDA runtime, linked statically.
// The only file of src/ that includes CUDA's headers; libcuda is opened by the runtime itself, and
// what the runtime does not offer is asked of it by name.
#include <cuda.h>
#include <cuda_runtime_api.h>

#include "base/error.h"
#include "cuda/gpu_runtime.h"

namespace dsv3::gpu {
namespace {

// The runtime remembers a failure until it is asked for it: each of ours is taken out here, so that
// a host that shares the runtime does not find it. Sticky ones come back by themselves.
int result(cudaError_t error) {
  if (error != cudaSuccess) static_cast<void>(cudaGetLastError());
  return static_cast<int>(error);
}

cudaStream_t native(Stream* stream) { return reinterpret_cast<cudaStream_t>(stream); }
cudaEvent_t native(Event* event) { return reinterpret_cast<cudaEvent_t>(event); }
cudaGraphExec_t native(Graph* graph) { return reinterpret_cast<cudaGraphExec_t>(graph); }

// Null without a driver.
void* driver_function(const char* name) {
  constexpr unsigned int kSince = 4000;  // CUDA 4.0: the signatures below
  void* found = nullptr;
  cudaDriverEntryPointQueryResult answer = cudaDriverEntryPointSymbolNotFound;
  const int error =
      result(cudaGetDriverEntryPointByVersion(name, &found, kSince, cudaEnableDefault, &answer));
  return error == 0 && answer == cudaDriverEntryPointSuccess ? found : nullptr;
}

struct ContextCalls {
  using Get = CUresult (*)(CUcontext* out);
  using Set = CUresult (*)(CUcontext context);
  Get get = reinterpret_cast<Get>(driver_function("cuCtxGetCurrent"));
  Set set = reinterpret_cast<Set>(driver_function("cuCtxSetCurrent"));
};
const ContextCalls& context_calls() {
  static const ContextCalls calls;
  return calls;
}

std::string version_text(int version) { return str(version / 1000, ".", version % 1000 / 10); }

std::string why_no_device(cudaError_t error) {
  int driver = 0;
  if (result(cudaDriverGetVersion(&driver)) != 0) driver = 0;
  if (error == cudaErrorStubLibrary) {
    return "libcuda.so.1 is the toolkit's stub, wanted the NVIDIA driver's";
  }
  if (driver == 0) return "no NVIDIA driver is installed (libcuda.so.1 not found)";
  if (error == cudaErrorInsufficientDriver || driver / 1000 < CUDART_VERSION / 1000) {
    return str("the NVIDIA driver supports CUDA ", version_text(driver), ", wanted ",
               version_text(CUDART_VERSION), " or newer");
  }
  if (error == cudaSuccess || error == cudaErrorNoDevice) {
    return "the NVIDIA driver finds no GPU";
  }
  return error_text(static_cast<int>(error));
}

}  // namespace

const char* backend_name() {
  static_assert(CUDART_VERSION / 1000 == 13);
  switch (CUDART_VERSION % 1000 / 10) {
    case 0:
      return "cuda 13.0";
    case 1:
      return "cuda 13.1";
    default:
      return "cuda 13";
  }
}

int device_count(std::string* why_none) {
  int count = 0;  // a failing call leaves it alone
  const cudaError_t error = cudaGetDeviceCount(&count);
  static_cast<void>(result(error));
  if (error == cudaSuccess && count > 0) return count;
  *why_none = why_no_device(error);
  return 0;
}

int properties(int ordinal, Properties* out) {
  cudaDeviceProp found{};
  const int error = result(cudaGetDeviceProperties(&found, ordinal));
  if (error != 0) return error;
  out->name = found.name;
  out->major = found.major;
  out->minor = found.minor;
  out->multiprocessors = found.multiProcessorCount;
  out->shared_bytes_max = found.sharedMemPerBlockOptin;
  out->memory_bytes = found.totalGlobalMem;
  return 0;
}

int memory_info(int ordinal, uint64_t* free_bytes, uint64_t* total_bytes) {
  int error = use_device(ordinal);
  if (error != 0) return error;
  size_t free_now = 0;
  size_t total = 0;
  error = result(cudaMemGetInfo(&free_now, &total));
  *free_bytes = free_now;
  *total_bytes = total;
  return error;
}

int use_device(int ordinal) { return result(cudaSetDevice(ordinal)); }

// Not by cudaSetDevice: it would make a context on a device that has none.
int current_context(void** out) {
  *out = nullptr;
  const ContextCalls& calls = context_calls();
  if (calls.get == nullptr || calls.set == nullptr) return cudaErrorInsufficientDriver;
  CUcontext context = nullptr;
  const CUresult answer = calls.get(&context);
  if (answer == CUDA_ERROR_NOT_INITIALIZED) return 0;  // nobody has used a GPU
  if (answer != CUDA_SUCCESS) return cudaErrorDeviceUninitialized;
  *out = context;
  return 0;
}

int set_current_context(void* context) {
  const ContextCalls& calls = context_calls();
  if (calls.set == nullptr) return cudaErrorInsufficientDriver;
  const bool done = calls.set(static_cast<CUcontext>(context)) == CUDA_SUCCESS;
  return done ? 0 : static_cast<int>(cudaErrorDeviceUninitialized);
}

int allocate(uint64_t bytes, void** out) { return result(cudaMalloc(out, bytes)); }
int release(void* memory) { return result(cudaFree(memory)); }
int allocate_pinned(uint64_t bytes, void** out) {
  return result(cudaHostAlloc(out, bytes, cudaHostAllocPortable));
}
int release_pinned(void* memory) { return result(cudaFreeHost(memory)); }

int stream_create(bool high_priority, Stream** out) {
  int least = 0;
  int greatest = 0;
  int error = result(cudaDeviceGetStreamPriorityRange(&least, &greatest));
  if (error != 0) return error;
  cudaStream_t stream = nullptr;
  error = result(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking,
                                              high_priority ? greatest : least));
  *out = reinterpret_cast<Stream*>(stream);
  return error;
}
int stream_destroy(Stream* stream) { return result(cudaStreamDestroy(native(stream))); }
int stream_wait(Stream* stream) { return result(cudaStreamSynchronize(native(stream))); }

int copy_to_device(void* device, const void* host, uint64_t bytes, Stream* stream) {
  return result(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, native(stream)));
}
int copy_to_host(void* host, const void* device, uint64_t bytes, Stream* stream) {
  return result(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, native(stream)));
}
int fill_zero(void* device, uint64_t bytes, Stream* stream) {
  return result(cudaMemsetAsync(device, 0, bytes, native(stream)));
}

int event_create(Event** out) {
  cudaEvent_t event = nullptr;
  const int error = result(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  *out = reinterpret_cast<Event*>(event);
  return error;
}
int event_destroy(Event* event) { return result(cudaEventDestroy(native(event))); }
int event_record(Event* event, Stream* stream) {
  return result(cudaEventRecord(native(event), native(stream)));
}
int event_wait(Event* event) { return result(cudaEventSynchronize(native(event))); }

// Thread-local: another context may allocate, wait or record on its own thread meanwhile.
int record_begin(Stream* stream) {
  return result(cudaStreamBeginCapture(native(stream), cudaStreamCaptureModeThreadLocal));
}

int record_end(Stream* stream, Graph** out) {
  *out = nullptr;
  cudaGraph_t recorded = nullptr;
  int error = result(cudaStreamEndCapture(native(stream), &recorded));
  if (error != 0) return error;
  cudaGraphExec_t graph = nullptr;
  error = result(cudaGraphInstantiate(&graph, recorded, 0));
  const int destroyed = result(cudaGraphDestroy(recorded));
  if (error == 0) error = destroyed;
  // Moves it to the device now, not in the first launch.
  if (error == 0) error = result(cudaGraphUpload(graph, native(stream)));
  if (error != 0 && graph != nullptr) {
    static_cast<void>(result(cudaGraphExecDestroy(graph)));
    graph = nullptr;
  }
  *out = reinterpret_cast<Graph*>(graph);
  return error;
}

int graph_launch(Graph* graph, Stream* stream) {
  return result(cudaGraphLaunch(native(graph), native(stream)));
}
int graph_destroy(Graph* graph) { return result(cudaGraphExecDestroy(native(graph))); }

std::string error_text(int error) {
  const auto code = static_cast<cudaError_t>(error);
  return str(cudaGetErrorName(code), " (", cudaGetErrorString(code), ")");
}

bool is_out_of_memory(int error) { return error == static_cast<int>(cudaErrorMemoryAllocation); }
bool is_recording_disturbed(int error) {
  return error >= static_cast<int>(cudaErrorStreamCaptureUnsupported) &&
         error <= static_cast<int>(cudaErrorStreamCaptureWrongThread);
}

}  // namespace dsv3::gpu
