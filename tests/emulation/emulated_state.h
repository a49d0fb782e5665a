// What the emulated devices share: settings, failures, memory. Guarded inside; used by the runtime
// and by launches.
#pragma once

#include <cstdint>
#include <string>

namespace dsv3::emulated {

inline constexpr int kDevices = 2;
inline constexpr int kOutOfMemory = 2;  // as CUDA numbers it; not sticky
inline constexpr int kRecordingDisturbed = 901;

struct Settings {
  int capability = 90;
  int multiprocessors = 4;
  int device_count = kDevices;
  uint64_t memory_bytes = 8ull << 30;
  uint64_t order_seed = 1;
  bool deferred = true;
};
Settings settings();
uint32_t shared_bytes_max(int capability);

// The device of this thread's calls.
int current_device();
bool set_current_device(int ordinal);
// The thread's context: a device's own, any other address that stands for a host's, or null.
const void* current_context();
void set_current_context(const void* context);

// --- failures. A code stands for one text, kept until the program ends.

int new_error(std::string text);
std::string text_of_error(int code);
// The first failure of a device that stays; 0 when it works.
int sticky_error(int ordinal);
// Makes the device fail with this text unless it has failed before; the code it now fails with.
int fail_device(int ordinal, std::string text);
// True for the kernel that emulator::fail_launch named.
bool launch_is_due_to_fail();
// True for the recordings that emulator::disturb_recordings named.
bool recording_is_due_to_fail();

// --- memory

enum class Memory : uint8_t { kDevice, kPinned };

// 0 or an error; memory is filled with 0xFF, and its end is exact, so that ASan guards it.
int take_memory(Memory kind, int ordinal, uint64_t bytes, void** out);
int give_memory(Memory kind, void* memory);
// True when [begin, begin + bytes) lies in one live allocation of that kind.
bool is_inside(Memory kind, const void* begin, uint64_t bytes);
uint64_t bytes_in_use(int ordinal);

// --- counters

enum class Count : uint8_t { kKernels, kReplays, kCopies, kWaits };
void count(Count what);
void count_object(int change);

}  // namespace dsv3::emulated
