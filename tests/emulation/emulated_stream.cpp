// Queues of work and who runs them when.
#include "emulation/emulated_stream.h"

#include <string>

#include "emulation/emulated_state.h"

namespace dsv3::gpu {

int Stream::check() const {
  const int sticky = emulated::sticky_error(ordinal);
  if (sticky != 0) return sticky;
  if (emulated::current_device() != ordinal) {
    return emulated::new_error("a stream of device " + std::to_string(ordinal) +
                               " used while device " + std::to_string(emulated::current_device()) +
                               " is the thread's");
  }
  return 0;
}

int Stream::enqueue(emulated::WorkPointer work) {
  if (work == nullptr) return emulated::kOutOfMemory;
  {
    const std::lock_guard lock(mutex);
    if (recording != nullptr) {
      recording->nodes->add(std::move(work));
      return 0;
    }
    pinned_reads += work->pinned_reads();
    if (pinned_reads == 0) work->spoil_results();
    queue.add(std::move(work));
    ++enqueued;
  }
  return emulated::settings().deferred ? 0 : run_all();
}

int Stream::run_until(uint64_t position) {
  const std::lock_guard lock(mutex);
  while (finished < position) {
    const emulated::WorkPointer work = queue.take();
    if (work == nullptr) break;
    ++finished;
    pinned_reads -= work->pinned_reads();
    // After a failure nothing runs any more.
    if (emulated::sticky_error(ordinal) == 0) static_cast<void>(work->run(*this));
  }
  return emulated::sticky_error(ordinal);
}

}  // namespace dsv3::gpu

namespace dsv3::emulated {
namespace {

struct Streams {
  std::mutex mutex;
  std::vector<std::shared_ptr<gpu::Stream>> all;  // guarded by mutex
};

Streams& streams() {
  static Streams* const the = new Streams;  // never destroyed, as in emulated_state.cpp
  return *the;
}

}  // namespace

gpu::Stream* add_stream(int ordinal) try {
  auto stream = std::make_shared<gpu::Stream>(ordinal);
  const std::lock_guard lock(streams().mutex);
  streams().all.push_back(stream);
  return stream.get();
} catch (const std::bad_alloc&) {
  return nullptr;
}

std::shared_ptr<gpu::Stream> find_stream(const gpu::Stream* stream) {
  const std::lock_guard lock(streams().mutex);
  for (const auto& one : streams().all) {
    if (one.get() == stream) return one;
  }
  return nullptr;
}

bool remove_stream(const gpu::Stream* stream) {
  const std::lock_guard lock(streams().mutex);
  return std::erase_if(streams().all, [&](const auto& one) { return one.get() == stream; }) > 0;
}

void run_all_streams(int ordinal) {
  const std::lock_guard lock(streams().mutex);
  for (const auto& stream : streams().all) {
    if (stream->ordinal == ordinal) static_cast<void>(stream->run_all());
  }
}

}  // namespace dsv3::emulated
