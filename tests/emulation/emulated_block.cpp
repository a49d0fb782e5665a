// The scheduler of a block. Compiled without sanitizers, so that they see the accesses of kernels
// and not ours; nothing of the C++ library is used between two threads of a block for that reason.
//
// A thread runs until it waits. Then the next runnable thread goes on, of the same warp if there is
// one. A thread that has not started yet runs on the fiber of one that has ended, so a block that
// never waits takes one fiber and no switch (under TSan each thread has its own, see fiber.h). When
// nobody can go on, the block is stuck, and the message says who waits where.
#include "emulation/emulated_block.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

#include "emulation/fiber.h"

thread_local constinit dsv3::emulated::Index3 threadIdx;
thread_local constinit dsv3::emulated::Index3 blockIdx;
thread_local constinit dsv3::emulated::Index3 blockDim;
thread_local constinit dsv3::emulated::Index3 gridDim;

namespace dsv3::emulated {
namespace {

constexpr uint32_t kLanes = 32;
constexpr uint32_t kWarpsMax = 32;
constexpr uint32_t kThreadsMax = kLanes * kWarpsMax;

// Thrown through the kernel's frames to end a thread of a block that has faulted.
struct ThreadEnds {};

// What a thread asked cp.async for: a queue that grows and is reused.
struct CopyQueue {
  struct Entry {
    AsyncCopy copy;
    uint32_t group;
  };
  Entry* entries = nullptr;
  uint32_t begin = 0;
  uint32_t end = 0;
  uint32_t capacity = 0;
  uint32_t group = 0;  // of copies that are asked for now
};

struct Thread {
  Fiber* fiber = nullptr;  // null before it starts
  CopyQueue copies;
};

// A warp collective that gathers its lanes; it is found by the lowest lane of its mask, so disjoint
// parts of a warp do not meet.
struct Meeting {
  uint32_t mask = 0;
  uint32_t arrived = 0;
  const WarpOperation* operation = nullptr;
  uint32_t turn = 0;
  char order[2] = {};  // addresses for TSan, by turns
};

struct Warp {
  uint32_t live = 0;            // lanes that have not ended
  uint32_t runnable = 0;        // lanes that do not wait
  uint64_t words[kLanes] = {};  // of lanes that wait in a collective, and their results
  uint32_t sources[kLanes] = {};
  void* calls[kLanes] = {};
  Meeting meetings[kLanes];
};

struct Barrier {
  uint32_t arrived = 0;
  uint32_t votes = 0;
  uint32_t result = 0;  // votes of the last time it opened
  Site site;
  uint32_t turn = 0;
  char order[2] = {};
};

struct Runner {
  Kernel kernel;
  Thread threads[kThreadsMax];
  Warp warps[kWarpsMax];
  Barrier barrier;
  uint32_t live = 0;
  uint32_t current = 0;         // thread that runs
  uint32_t runnable_warps = 0;  // warps with runnable lanes
  uint64_t random = 0;          // 0: ascending order
  bool faulted = false;
  char* text = nullptr;
  unsigned char* arena = nullptr;
  char order_begin = 0;  // addresses for TSan: a block comes after what the host knows,
  char order_end = 0;    // and the host after the block

  Fiber host;
  Fiber fibers[kThreadsMax];
  uint32_t fibers_made = 0;
  Fiber* idle[kThreadsMax];
  uint32_t idle_count = 0;
};

thread_local constinit Runner* runner = nullptr;

struct RunnerOwner {
  ~RunnerOwner() {
    if (runner == nullptr) return;
    for (uint32_t i = 0; i < runner->fibers_made; ++i) fiber_destroy(runner->fibers[i]);
    for (Thread& thread : runner->threads) std::free(thread.copies.entries);
    std::free(runner);
    runner = nullptr;
  }
};
thread_local RunnerOwner runner_owner;

Runner& this_runner() {
  if (runner == nullptr) {
    [[maybe_unused]] RunnerOwner& owner = runner_owner;  // its destructor is due from now on
    // malloc's, as all memory of the emulator: operator new is for tests to count and to refuse.
    void* const memory = std::malloc(sizeof(Runner));
    if (memory == nullptr) std::abort();
    runner = new (memory) Runner;
  }
  return *runner;
}

// --- who goes on

void thread_entry();

uint32_t next_random(Runner& r) {
  r.random ^= r.random << 13;
  r.random ^= r.random >> 7;
  r.random ^= r.random << 17;
  return static_cast<uint32_t>(r.random >> 32);
}

// The first set bit at or after `start`, around the end. Not for 0.
uint32_t bit_from(uint32_t mask, uint32_t start) {
  start &= 31;
  const uint32_t turned = start == 0 ? mask : (mask >> start) | (mask << (32 - start));
  return (start + static_cast<uint32_t>(__builtin_ctz(turned))) & 31;
}

void set_runnable(Runner& r, uint32_t warp, uint32_t lanes) {
  r.warps[warp].runnable |= lanes;
  if (lanes != 0) r.runnable_warps |= 1u << warp;
}

void clear_runnable(Runner& r, uint32_t thread) {
  Warp& warp = r.warps[thread / kLanes];
  warp.runnable &= ~(1u << (thread % kLanes));
  if (warp.runnable == 0) r.runnable_warps &= ~(1u << (thread / kLanes));
}

// A runnable thread; not to be asked when there is none.
uint32_t pick(Runner& r) {
  uint32_t warp = r.current / kLanes;
  uint32_t lane = r.current % kLanes;
  if (r.random != 0) {
    const uint32_t chance = next_random(r);
    lane = chance;
    // Now and then another warp goes first.
    if ((chance & 0x700u) == 0) warp = bit_from(r.runnable_warps, chance >> 16);
    if (r.warps[warp].runnable == 0) warp = bit_from(r.runnable_warps, chance >> 24);
  } else if (r.warps[warp].runnable == 0) {
    warp = bit_from(r.runnable_warps, warp + 1);
    lane = 0;
  }
  return warp * kLanes + bit_from(r.warps[warp].runnable, lane);
}

Fiber* make_fiber(Runner& r) {
  Fiber& fiber = r.fibers[r.fibers_made];
  fiber_create(fiber, r.fibers_made, thread_entry);
  ++r.fibers_made;
  return &fiber;
}

// A fiber for a thread that has not started.
Fiber* fresh_fiber(Runner& r, uint32_t thread) {
  if (fibers_are_watched) return &r.fibers[thread];  // always the same one
  if (r.idle_count > 0) return r.idle[--r.idle_count];
  return make_fiber(r);
}

void enter_thread(Runner& r, uint32_t thread) {
  r.current = thread;
  threadIdx.x = thread;
}

// Goes on with another runnable thread; comes back when this one is picked.
void switch_away(Runner& r) {
  const uint32_t self = r.current;
  const uint32_t next = pick(r);
  if (next == self) return;
  Thread& to = r.threads[next];
  if (to.fiber == nullptr) to.fiber = fresh_fiber(r, next);
  enter_thread(r, next);
  fiber_switch(*r.threads[self].fiber, *to.fiber);
}

// --- what goes wrong

void record_fault(Runner& r, const char* format, va_list arguments) {
  if (r.faulted) return;
  r.faulted = true;
  const int length =
      std::snprintf(r.text, kFaultTextBytes, "%s, block (%u,%u,%u), thread %u: ", r.kernel.name,
                    blockIdx.x, blockIdx.y, blockIdx.z, r.current);
  const auto used = static_cast<size_t>(length);
  if (used < kFaultTextBytes) {
    std::vsnprintf(r.text + used, kFaultTextBytes - used, format, arguments);
  }
  // Those who wait go on in order to end; the others never start.
  for (uint32_t w = 0; w < r.kernel.threads / kLanes; ++w) {
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      Thread& thread = r.threads[w * kLanes + lane];
      const uint32_t bit = 1u << lane;
      if (thread.fiber == nullptr && (r.warps[w].live & bit) != 0) {
        clear_runnable(r, w * kLanes + lane);
        r.warps[w].live &= ~bit;
        --r.live;
      } else if ((r.warps[w].live & bit) != 0) {
        set_runnable(r, w, bit);
      }
    }
  }
}

[[gnu::format(printf, 2, 3)]] void record(Runner& r, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  record_fault(r, format, arguments);
  va_end(arguments);
}

bool same_site(const Site& a, const Site& b) {
  return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0);
}

const char* base_name(const char* path) {
  const char* const kernels = std::strstr(path, "kernels/");
  return kernels != nullptr ? kernels : path;
}

// Nobody can go on: says who waits where. Called by the last thread to wait.
void record_stuck(Runner& r) {
  if (r.barrier.arrived > 0) {
    record(r, "divergent __syncthreads: %u of %u threads wait at %s:%d, the others %s",
           r.barrier.arrived, r.kernel.threads, base_name(r.barrier.site.file), r.barrier.site.line,
           r.live < r.kernel.threads ? "have ended" : "in warp collectives");
    return;
  }
  for (const Warp& warp : r.warps) {
    for (const Meeting& meeting : warp.meetings) {
      if (meeting.arrived == 0) continue;
      record(r, "divergent %s of mask %08x in warp %u: only lanes %08x arrived",
             meeting.operation->name, meeting.mask, static_cast<uint32_t>(&warp - r.warps),
             meeting.arrived);
      return;
    }
  }
  record(r, "the emulator lost its threads (a defect of the emulator)");
}

// The current thread waits until somebody makes it runnable.
void wait_here(Runner& r) {
  clear_runnable(r, r.current);
  if (r.runnable_warps == 0) record_stuck(r);
  switch_away(r);
  if (r.faulted) throw ThreadEnds{};
}

// --- a thread's life

void end_thread(Runner& r) {
  Thread& self = r.threads[r.current];
  Warp& warp = r.warps[r.current / kLanes];
  if (!r.faulted) {
    const uint32_t outstanding = self.copies.end - self.copies.begin;
    if (outstanding > 0) record(r, "ended with %u cp.async outstanding", outstanding);
    if (r.barrier.arrived > 0) {
      record(r, "divergent __syncthreads: ended while %u of %u threads wait at %s:%d",
             r.barrier.arrived, r.kernel.threads, base_name(r.barrier.site.file),
             r.barrier.site.line);
    }
  }
  self.copies.begin = self.copies.end = self.copies.group = 0;
  order_release(&r.order_end);
  clear_runnable(r, r.current);
  warp.live &= ~(1u << (r.current % kLanes));
  --r.live;
}

void run_thread(Runner& r) {
  order_acquire(&r.order_begin);
  try {
    r.kernel.thread(r.kernel.closure);
  } catch (const ThreadEnds&) {
  }
  end_thread(r);
}

// Where the fiber of a thread that has ended goes: null when it takes the next thread itself.
Fiber* after_thread(Runner& r, Fiber* self) {
  r.threads[r.current].fiber = nullptr;
  if (r.live > 0 && r.runnable_warps == 0) record_stuck(r);
  if (r.live == 0) return &r.host;
  const uint32_t next = pick(r);
  enter_thread(r, next);
  Thread& thread = r.threads[next];
  if (thread.fiber == nullptr && !fibers_are_watched) {
    thread.fiber = self;
    return nullptr;
  }
  if (thread.fiber == nullptr) thread.fiber = fresh_fiber(r, next);
  return thread.fiber;
}

// A fiber's whole life: threads, one after the other.
void thread_entry() {
  fiber_entered();
  Runner& r = *runner;
  for (;;) {
    run_thread(r);
    Fiber* const self = r.threads[r.current].fiber;
    Fiber* const to = after_thread(r, self);
    if (to == nullptr) continue;
    if (!fibers_are_watched) r.idle[r.idle_count++] = self;
    fiber_switch(*self, *to);
  }
}

// --- blocks

void reset_block(Runner& r) {
  const uint32_t warps = r.kernel.threads / kLanes;
  r.live = r.kernel.threads;
  r.runnable_warps = 0;
  r.barrier.arrived = 0;
  r.barrier.votes = 0;
  for (uint32_t w = 0; w < warps; ++w) {
    r.warps[w].live = ~0u;
    r.warps[w].runnable = 0;
    set_runnable(r, w, ~0u);
  }
}

void reset_meetings(Runner& r) {
  for (Warp& warp : r.warps) {
    for (Meeting& meeting : warp.meetings) meeting.arrived = 0;
  }
}

bool run_block(Runner& r) {
  reset_block(r);
  if (r.kernel.shared_bytes > 0) std::memset(r.arena, 0xFF, r.kernel.shared_bytes);
  order_release(&r.order_begin);
  r.current = 0;
  const uint32_t first = pick(r);
  Fiber* const fiber = fresh_fiber(r, first);
  r.threads[first].fiber = fiber;
  enter_thread(r, first);
  fiber_switch(r.host, *fiber);
  order_acquire(&r.order_end);
  if (r.faulted) reset_meetings(r);
  return !r.faulted;
}

}  // namespace

bool run_grid(const Kernel& kernel, char* text) {
  Runner& r = this_runner();
  r.kernel = kernel;
  r.text = text;
  r.faulted = false;
  r.random = kernel.order_seed;
  fiber_adopt(r.host);
  // Made by the host: what makes a fiber comes before it in TSan's eyes.
  while (fibers_are_watched && r.fibers_made < kernel.threads) make_fiber(r);
  void* arena = nullptr;
  if (kernel.shared_bytes > 0 && posix_memalign(&arena, 128, kernel.shared_bytes) != 0) {
    std::snprintf(text, kFaultTextBytes, "%s: no host memory for shared memory", kernel.name);
    return false;
  }
  r.arena = static_cast<unsigned char*>(arena);
  gridDim = kernel.grid;
  blockDim = {kernel.threads, 1, 1};
  bool fine = true;
  for (uint32_t z = 0; fine && z < kernel.grid.z; ++z) {
    for (uint32_t y = 0; fine && y < kernel.grid.y; ++y) {
      for (uint32_t x = 0; fine && x < kernel.grid.x; ++x) {
        blockIdx = {x, y, z};
        fine = run_block(r);
      }
    }
  }
  std::free(arena);
  return fine;
}

// --- the services for device code

void fault(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  record_fault(*runner, format, arguments);
  va_end(arguments);
  throw ThreadEnds{};
}

void* shared_arena(size_t bytes, size_t alignment) {
  const Runner& r = *runner;
  if (bytes > r.kernel.shared_bytes) {
    fault("shared_memory of %zu bytes, the launch gave %u", bytes, r.kernel.shared_bytes);
  }
  if (alignment > 128) fault("shared_memory aligned to %zu bytes, wanted at most 128", alignment);
  return r.arena;
}

uint32_t block_barrier_count(const Site& site, bool vote) {
  Runner& r = *runner;
  Barrier& barrier = r.barrier;
  if (r.live < r.kernel.threads) {
    fault("divergent __syncthreads at %s:%d: %u of %u threads have ended", base_name(site.file),
          site.line, r.kernel.threads - r.live, r.kernel.threads);
  }
  if (barrier.arrived == 0) {
    barrier.site = site;
  } else if (!same_site(barrier.site, site)) {
    fault("divergent __syncthreads: this thread at %s:%d, others at %s:%d", base_name(site.file),
          site.line, base_name(barrier.site.file), barrier.site.line);
  }
  // By turns, so that a thread that is early at the next barrier tells those of this one nothing.
  char* const order = &barrier.order[barrier.turn & 1];
  order_release(order);
  barrier.votes += vote ? 1 : 0;
  if (++barrier.arrived == r.kernel.threads) {
    barrier.arrived = 0;
    barrier.result = barrier.votes;
    barrier.votes = 0;
    ++barrier.turn;
    for (uint32_t w = 0; w < r.kernel.threads / kLanes; ++w) set_runnable(r, w, ~0u);
  } else {
    wait_here(r);
  }
  order_acquire(order);
  return barrier.result;
}

void block_barrier(const Site& site) { block_barrier_count(site, false); }

uint64_t warp_meet(uint32_t mask, const WarpOperation& operation, const WarpCall& call) {
  Runner& r = *runner;
  const uint32_t lane = r.current % kLanes;
  Warp& warp = r.warps[r.current / kLanes];
  if ((mask >> lane & 1u) == 0) {
    fault("%s: lane %u is not in its own mask %08x", operation.name, lane, mask);
  }
  if ((mask & ~warp.live) != 0) {
    fault("%s: mask %08x names lanes %08x, which have ended", operation.name, mask,
          mask & ~warp.live);
  }
  Meeting& meeting = warp.meetings[__builtin_ctz(mask)];
  if (meeting.arrived == 0) {
    meeting.mask = mask;
    meeting.operation = &operation;
  } else if (meeting.mask != mask || meeting.operation != &operation) {
    fault("divergent warp: lane %u is at %s of mask %08x, lanes %08x at %s of mask %08x", lane,
          operation.name, mask, meeting.arrived, meeting.operation->name, meeting.mask);
  }
  warp.words[lane] = call.word;
  warp.sources[lane] = call.source;
  warp.calls[lane] = call.call;
  meeting.arrived |= 1u << lane;
  char* const order = &meeting.order[meeting.turn & 1];
  if (operation.orders_memory) order_release(order);
  if (meeting.arrived == mask) {
    meeting.arrived = 0;
    ++meeting.turn;
    operation.finish({mask, warp.words, warp.sources, warp.calls});
    set_runnable(r, r.current / kLanes, mask);
  } else {
    wait_here(r);
  }
  if (operation.orders_memory) order_acquire(order);
  return warp.words[lane];
}

void async_push(const AsyncCopy& copy) {
  CopyQueue& queue = runner->threads[runner->current].copies;
  if (queue.end == queue.capacity) {
    const uint32_t capacity = queue.capacity == 0 ? 64 : queue.capacity * 2;
    void* const memory = std::realloc(queue.entries, capacity * sizeof(CopyQueue::Entry));
    if (memory == nullptr) fault("no host memory for cp.async");
    queue.entries = static_cast<CopyQueue::Entry*>(memory);
    queue.capacity = capacity;
  }
  queue.entries[queue.end++] = {copy, queue.group};
}

void async_close_group() { ++runner->threads[runner->current].copies.group; }

bool async_pop(uint32_t pending, AsyncCopy* copy) {
  CopyQueue& queue = runner->threads[runner->current].copies;
  if (queue.begin == queue.end || queue.entries[queue.begin].group + pending >= queue.group) {
    return false;
  }
  *copy = queue.entries[queue.begin++].copy;
  if (queue.begin == queue.end) queue.begin = queue.end = 0;
  return true;
}

int device_capability() { return runner->kernel.capability; }

}  // namespace dsv3::emulated
