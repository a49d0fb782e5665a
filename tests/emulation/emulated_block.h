// One thread block at a time: its threads as fibers, barriers, warp collectives, shared memory.
// What device code needs of it stands here; everything else is private to emulated_block.cpp.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dsv3::emulated {
struct Index3 {
  uint32_t x = 0;
  uint32_t y = 0;
  uint32_t z = 0;
};

}  // namespace dsv3::emulated

// Of the CUDA thread that runs now.
extern thread_local constinit dsv3::emulated::Index3 threadIdx;
extern thread_local constinit dsv3::emulated::Index3 blockIdx;
extern thread_local constinit dsv3::emulated::Index3 blockDim;
extern thread_local constinit dsv3::emulated::Index3 gridDim;

namespace dsv3::emulated {

// Where a barrier stands in the source.
struct Site {
  const char* file = nullptr;
  int line = 0;
};

// --- what a running CUDA thread may ask for; each ends the kernel with a message when misused

// Ends the kernel: the stream and its device fail with this text, prefixed by kernel and thread.
[[noreturn, gnu::format(printf, 1, 2)]] void fault(const char* format, ...);

// The block's arena, checked to hold `bytes`.
void* shared_arena(size_t bytes, size_t alignment);

void block_barrier(const Site& site);
// The barrier that also tells every thread how many passed a `vote` other than zero.
uint32_t block_barrier_count(const Site& site, bool vote);

// A warp collective: every lane of `mask` brings its call; the last to arrive finishes all of them.
// Lanes that disagree on mask or operation are an error. finish() may be called on any lane's stack
// and leaves results where a lane finds them: behind its call, or in its word.
struct WarpLanes {
  uint32_t mask;
  uint64_t* words;          // [32], of lanes of the mask
  const uint32_t* sources;  // [32]
  void* const* calls;       // [32]
};
struct WarpOperation {
  const char* name;
  void (*finish)(const WarpLanes& lanes);
  bool orders_memory;
};
struct WarpCall {
  uint64_t word = 0;
  uint32_t source = 0;
  void* call = nullptr;
};
// What finish() left in the lane's word.
uint64_t warp_meet(uint32_t mask, const WarpOperation& operation, const WarpCall& call);

// Shuffles: the value of lane `source`, which must be in the mask.
uint64_t warp_shuffle(uint32_t mask, uint64_t value, uint32_t source);
// All 32 lanes: each brings a word and takes those of eight lanes.
void warp_exchange(uint64_t value, const uint32_t (&sources)[8], uint64_t (&results)[8]);
uint32_t warp_ballot(uint32_t mask, bool predicate);
void warp_sync(uint32_t mask);
uint32_t warp_reduce_add(uint32_t mask, uint32_t value);
uint32_t warp_reduce_max(uint32_t mask, uint32_t value);
uint32_t warp_reduce_min(uint32_t mask, uint32_t value);

// Copies of this thread that have been asked for and not been made.
struct AsyncCopy {
  void* shared = nullptr;
  const void* global = nullptr;  // null: zeros
};
void async_push(const AsyncCopy& copy);
void async_close_group();
// Takes the oldest copy of all groups but the last `pending`; false when there is none.
bool async_pop(uint32_t pending, AsyncCopy* copy);

// Compute capability x 10 of the device that the kernel runs on.
int device_capability();

// --- running a grid

struct Kernel {
  void (*thread)(const void* closure) = nullptr;  // runs one CUDA thread
  const void* closure = nullptr;
  const char* name = "";
  Index3 grid;
  uint32_t threads = 0;
  uint32_t shared_bytes = 0;
  int capability = 90;
  uint64_t order_seed = 0;  // of the order of threads; 0: ascending
};

// Runs all blocks on this OS thread. False when a thread faulted; `text` (kFaultTextBytes) says
// why.
inline constexpr size_t kFaultTextBytes = 1024;
bool run_grid(const Kernel& kernel, char* text);

}  // namespace dsv3::emulated
