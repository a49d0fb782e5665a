// Streams of the emulated GPUs: work in order, run late (when the host waits for it) so that a host
// which reads too early finds no results, or stored in a recording instead.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

namespace dsv3::gpu {
struct Stream;
}

namespace dsv3::emulated {

// One operation of a stream. Its memory is malloc's and not operator new's: a step of the library
// allocates nothing, also where a test counts, and what the driver does is not the library's.
class Work {
 public:
  virtual ~Work() = default;
  // Does it; 0 or an error. Of a recording: again with each replay.
  virtual int run(gpu::Stream& stream) const = 0;
  // Pinned host memory that run() reads.
  virtual uint32_t pinned_reads() const { return 0; }
  // Spoils pinned host memory that run() will write: until then it holds nothing of use.
  virtual void spoil_results() const {}

  Work* next = nullptr;  // in the queue or recording that owns this
};

struct WorkDeleter {
  void operator()(Work* work) const {
    work->~Work();
    std::free(work);
  }
};
using WorkPointer = std::unique_ptr<Work, WorkDeleter>;

// A T followed by `extra` bytes; null when there is no memory.
template <typename T, typename... Args>
WorkPointer make_work(size_t extra, Args&&... args) {
  void* const memory = std::malloc(sizeof(T) + extra);
  if (memory == nullptr) return nullptr;
  return WorkPointer(new (memory) T(std::forward<Args>(args)...));
}

class WorkList {
 public:
  WorkList() = default;
  WorkList(const WorkList&) = delete;
  WorkList& operator=(const WorkList&) = delete;
  ~WorkList() {
    while (take() != nullptr) {
    }
  }

  void add(WorkPointer work) {
    Work* const last = work.release();
    (first_ == nullptr ? first_ : last_->next) = last;
    last_ = last;
  }
  WorkPointer take() {
    WorkPointer work(first_);
    if (work != nullptr) first_ = work->next;
    return work;
  }
  const Work* first() const { return first_; }

 private:
  Work* first_ = nullptr;
  Work* last_ = nullptr;
};

}  // namespace dsv3::emulated

namespace dsv3::gpu {

struct Graph {
  std::shared_ptr<emulated::WorkList> nodes = std::make_shared<emulated::WorkList>();
};

struct Stream {
  explicit Stream(int ordinal_of_stream) : ordinal(ordinal_of_stream) {}

  // 0 when this thread may use the stream now, or an error.
  int check() const;
  // Takes the work, or adds it to the recording. Null work: there was no memory for it.
  int enqueue(emulated::WorkPointer work);
  // Runs what was enqueued, up to `position` enqueued in all; the device's error.
  int run_until(uint64_t position);
  int run_all() { return run_until(~0ull); }
  // For the order of threads: a new number for each kernel.
  uint64_t next_kernel() { return ++kernels; }

  const int ordinal;
  std::mutex mutex;
  // --- guarded by mutex
  emulated::WorkList queue;
  uint64_t enqueued = 0;
  uint64_t finished = 0;
  uint32_t pinned_reads = 0;  // in the queue
  std::unique_ptr<Graph> recording;
  uint64_t kernels = 0;
};

struct Event {
  std::shared_ptr<Stream> stream;  // null before it was recorded
  uint64_t position = 0;
};

}  // namespace dsv3::gpu

namespace dsv3::emulated {

// --- the streams that exist, which release of memory waits for as CUDA does

gpu::Stream* add_stream(int ordinal);  // null: no memory
std::shared_ptr<gpu::Stream> find_stream(const gpu::Stream* stream);
bool remove_stream(const gpu::Stream* stream);
void run_all_streams(int ordinal);

}  // namespace dsv3::emulated
