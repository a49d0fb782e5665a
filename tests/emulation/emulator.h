// What tests may ask of the emulated GPUs: their properties, faults on demand, counters. Two
// devices exist, ordinals 0 and 1; all settings are of both. Threads may call these at any time;
// settings that change what a context sees of its device belong before the context.
#pragma once

#include <cstdint>
#include <string>

namespace dsv3::emulator {

// Settings back to their defaults, sticky failures forgotten, counters at 0 (not the live ones).
void reset();

// Compute capability, 9.0 by default. Shared memory per block follows: 99, 163 or 227 KiB.
void set_capability(int major, int minor);
void set_multiprocessors(int count);  // 4 by default
void set_memory(uint64_t bytes);      // of each device, 8 GiB by default
void set_device_count(int count);     // 0 to 2

// The nth allocation from now on (1 = the next), of device or pinned memory, fails once.
void fail_allocation(uint32_t nth);
// The nth kernel from now on makes its device fail for good, when it runs.
void fail_launch(uint32_t nth);
// The next `count` recordings end without a result; the device goes on.
void disturb_recordings(uint32_t count);

// Order of the threads of a block. 0: ascending; other seeds shuffle them, differently for each
// launch. 1 by default.
void set_thread_order(uint64_t seed);
// False: work runs when it is enqueued. True, the default: when the host waits for it.
void set_deferred(bool deferred);

struct Counters {
  uint64_t kernels = 0;  // run, those of replays too
  uint64_t replays = 0;  // of recordings
  uint64_t copies = 0;   // run, both ways
  uint64_t waits = 0;    // of the host for a stream or an event
};
Counters counters();

uint64_t live_bytes(int ordinal);  // of device memory
uint64_t live_allocations();       // device and pinned memory, both devices
uint64_t live_objects();           // streams, events, recordings

}  // namespace dsv3::emulator
