// Settings, failures, memory and counters of the emulated devices, and the hooks of tests.
#include "emulation/emulated_state.h"

#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <new>

#include "emulation/emulator.h"

namespace dsv3::emulated {
namespace {

constexpr int kFirstError = 1000;

struct Allocation {
  Memory kind;
  int ordinal;
  uint64_t bytes;
};

struct State {
  std::mutex mutex;
  // --- guarded by mutex
  Settings settings;
  std::deque<std::string> errors;  // texts from code kFirstError on
  std::array<int, kDevices> sticky = {};
  std::array<uint64_t, kDevices> bytes_in_use = {};
  // By the address's complement: to LeakSanitizer what stands here alone is lost.
  std::map<uintptr_t, Allocation> allocations;
  uint32_t allocation_to_fail = 0;  // 0: none
  uint32_t launch_to_fail = 0;
  uint32_t recordings_to_disturb = 0;
  // --- atomic
  std::array<std::atomic<uint64_t>, 4> counts = {};
  std::atomic<int64_t> objects = 0;
};

State& state() {
  static State* const the = new State;  // never destroyed: contexts may outlive other statics
  return *the;
}

constexpr char kDeviceContexts[kDevices] = {};  // their addresses
thread_local const void* context_of_thread = nullptr;

// Counts down to the call that is to fail.
bool is_due(uint32_t& countdown) { return countdown > 0 && --countdown == 0; }

uintptr_t hidden(const void* memory) { return ~reinterpret_cast<uintptr_t>(memory); }

const char* name_of(Memory kind) { return kind == Memory::kDevice ? "device" : "pinned"; }

}  // namespace

Settings settings() {
  const std::lock_guard lock(state().mutex);
  return state().settings;
}

uint32_t shared_bytes_max(int capability) {
  switch (capability) {
    case 80:
    case 87:
      return 163 * 1024;
    case 86:
    case 89:
    case 120:
    case 121:
      return 99 * 1024;
    default:
      return 227 * 1024;
  }
}

int current_device() {
  for (int ordinal = 1; ordinal < kDevices; ++ordinal) {
    if (context_of_thread == &kDeviceContexts[ordinal]) return ordinal;
  }
  return 0;
}

const void* current_context() { return context_of_thread; }
void set_current_context(const void* context) { context_of_thread = context; }

bool set_current_device(int ordinal) {
  if (ordinal < 0 || ordinal >= settings().device_count) return false;
  context_of_thread = &kDeviceContexts[ordinal];
  return true;
}

int new_error(std::string text) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  s.errors.push_back(std::move(text));
  return kFirstError + static_cast<int>(s.errors.size()) - 1;
}

std::string text_of_error(int code) {
  if (code == 0) return "no error";
  if (code == kOutOfMemory) return "emulated GPU: out of memory";
  if (code == kRecordingDisturbed) return "emulated GPU: the recording was disturbed";
  State& s = state();
  const std::lock_guard lock(s.mutex);
  const int index = code - kFirstError;
  if (index < 0 || index >= static_cast<int>(s.errors.size())) return "emulated GPU: unknown error";
  return "emulated GPU: " + s.errors[static_cast<size_t>(index)];
}

int sticky_error(int ordinal) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  return s.sticky[static_cast<size_t>(ordinal)];
}

int fail_device(int ordinal, std::string text) {
  const int code = new_error(std::move(text));
  State& s = state();
  const std::lock_guard lock(s.mutex);
  int& sticky = s.sticky[static_cast<size_t>(ordinal)];
  if (sticky == 0) sticky = code;
  return sticky;
}

bool launch_is_due_to_fail() {
  const std::lock_guard lock(state().mutex);
  return is_due(state().launch_to_fail);
}

bool recording_is_due_to_fail() {
  const std::lock_guard lock(state().mutex);
  if (state().recordings_to_disturb == 0) return false;
  --state().recordings_to_disturb;
  return true;
}

int take_memory(Memory kind, int ordinal, uint64_t bytes, void** out) {
  *out = nullptr;
  State& s = state();
  const std::lock_guard lock(s.mutex);
  if (is_due(s.allocation_to_fail)) return kOutOfMemory;
  if (bytes == 0) return 0;
  uint64_t& in_use = s.bytes_in_use[static_cast<size_t>(ordinal)];
  if (kind == Memory::kDevice && in_use + bytes > s.settings.memory_bytes) return kOutOfMemory;
  void* memory = nullptr;
  if (posix_memalign(&memory, 256, bytes) != 0) return kOutOfMemory;
  try {
    s.allocations.emplace(hidden(memory), Allocation{kind, ordinal, bytes});
  } catch (const std::bad_alloc&) {
    std::free(memory);
    return kOutOfMemory;
  }
  std::memset(memory, 0xFF, bytes);
  if (kind == Memory::kDevice) in_use += bytes;
  *out = memory;
  return 0;
}

int give_memory(Memory kind, void* memory) {
  if (memory == nullptr) return 0;
  State& s = state();
  {
    const std::lock_guard lock(s.mutex);
    const auto found = s.allocations.find(hidden(memory));
    if (found != s.allocations.end() && found->second.kind == kind) {
      if (kind == Memory::kDevice) {
        s.bytes_in_use[static_cast<size_t>(found->second.ordinal)] -= found->second.bytes;
      }
      s.allocations.erase(found);
      std::free(memory);
      return 0;
    }
  }
  return new_error(std::string("release of an address that is no live ") + name_of(kind) +
                   " allocation (released twice?)");
}

bool is_inside(Memory kind, const void* begin, uint64_t bytes) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  // Complements ascend as addresses descend: the first not below is the last not above.
  const auto found = s.allocations.lower_bound(hidden(begin));
  if (found == s.allocations.end() || found->second.kind != kind) return false;
  const uint64_t offset = reinterpret_cast<uintptr_t>(begin) - ~found->first;
  return offset <= found->second.bytes && bytes <= found->second.bytes - offset;
}

uint64_t bytes_in_use(int ordinal) {
  const std::lock_guard lock(state().mutex);
  return state().bytes_in_use[static_cast<size_t>(ordinal)];
}

void count(Count what) {
  state().counts[static_cast<size_t>(what)].fetch_add(1, std::memory_order_relaxed);
}

void count_object(int change) { state().objects.fetch_add(change, std::memory_order_relaxed); }

}  // namespace dsv3::emulated

namespace dsv3::emulator {
namespace {

using emulated::state;

template <typename Change>
void change_settings(const Change& change) {
  const std::lock_guard lock(state().mutex);
  change(state().settings);
}

}  // namespace

void reset() {
  emulated::State& s = state();
  const std::lock_guard lock(s.mutex);
  s.settings = {};
  s.sticky = {};
  s.allocation_to_fail = 0;
  s.launch_to_fail = 0;
  s.recordings_to_disturb = 0;
  for (auto& value : s.counts) value = 0;
}

void set_capability(int major, int minor) {
  change_settings([&](auto& s) { s.capability = 10 * major + minor; });
}
void set_multiprocessors(int count) {
  change_settings([&](auto& s) { s.multiprocessors = count; });
}
void set_memory(uint64_t bytes) {
  change_settings([&](auto& s) { s.memory_bytes = bytes; });
}
void set_device_count(int count) {
  change_settings([&](auto& s) { s.device_count = count; });
}
void set_thread_order(uint64_t seed) {
  change_settings([&](auto& s) { s.order_seed = seed; });
}
void set_deferred(bool deferred) {
  change_settings([&](auto& s) { s.deferred = deferred; });
}

void fail_allocation(uint32_t nth) {
  const std::lock_guard lock(state().mutex);
  state().allocation_to_fail = nth;
}
void fail_launch(uint32_t nth) {
  const std::lock_guard lock(state().mutex);
  state().launch_to_fail = nth;
}

void disturb_recordings(uint32_t count) {
  const std::lock_guard lock(state().mutex);
  state().recordings_to_disturb = count;
}

Counters counters() {
  const auto value = [](emulated::Count what) {
    return state().counts[static_cast<size_t>(what)].load(std::memory_order_relaxed);
  };
  return {value(emulated::Count::kKernels), value(emulated::Count::kReplays),
          value(emulated::Count::kCopies), value(emulated::Count::kWaits)};
}

uint64_t live_bytes(int ordinal) { return emulated::bytes_in_use(ordinal); }
uint64_t live_allocations() {
  const std::lock_guard lock(state().mutex);
  return state().allocations.size();
}
uint64_t live_objects() { return static_cast<uint64_t>(state().objects.load()); }

}  // namespace dsv3::emulator
