// Which generations has somebody asked to end? Words that any thread or signal handler may write.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "engine/types.h"

namespace dsv3 {

inline constexpr uint32_t kSlotBits = 16;
constexpr uint32_t slot_of(SequenceId id) {
  return static_cast<uint32_t>(id & ((1u << kSlotBits) - 1));
}

// Generations carry serials that only grow, in the order in which they were started. A request
// names serials, so it can never hit a later generation. begin() and end() are called under the
// engine's lock; request() and request_all() are lock-free and signal-safe; the rest is for the
// step thread.
class CancelBoard {
 public:
  explicit CancelBoard(uint32_t slots) : slots_(slots), words_(std::make_unique<Words[]>(slots)) {}

  // A generation of sequence `id` starts: its serial.
  uint64_t begin(SequenceId id) {
    Words& words = words_[slot_of(id)];
    const uint64_t serial = last_serial_.load() + 1;
    words.owner.store(id);
    words.running.store(serial);
    last_serial_.store(serial);
    return serial;
  }
  void end(SequenceId id) { words_[slot_of(id)].running.store(0); }

  // The running generation of `id`, if any.
  void request(SequenceId id) noexcept {
    const uint32_t slot = slot_of(id);
    if (slot >= slots_) return;
    Words& words = words_[slot];
    // The serial first: once the owner is read and right, the serial was this sequence's or an
    // older one's, which matches no generation any more.
    const uint64_t serial = words.running.load();
    if (serial == 0 || words.owner.load() != id) return;
    raise(words.requested, serial);
    requests_.fetch_add(1);
  }
  // All generations running now.
  void request_all() noexcept {
    raise(requested_upto_, last_serial_.load());
    requests_.fetch_add(1);
  }

  bool is_requested(SequenceId id, uint64_t serial) const {
    return serial <= requested_upto_.load() || words_[slot_of(id)].requested.load() == serial;
  }

  // True when there was a request (or a nudge) since the last call.
  bool take_changes() {
    const uint64_t now = requests_.load();
    if (now == seen_) return false;
    seen_ = now;
    return true;
  }
  // Makes the step thread look: a sequence went away.
  void nudge() noexcept { requests_.fetch_add(1); }

 private:
  struct Words {
    std::atomic<SequenceId> owner{0};
    std::atomic<uint64_t> running{0};    // serial of the running generation, 0 = none
    std::atomic<uint64_t> requested{0};  // serial of the last generation asked to end
  };
  static_assert(std::atomic<uint64_t>::is_always_lock_free, "signal handlers may cancel");

  static void raise(std::atomic<uint64_t>& word, uint64_t value) noexcept {
    uint64_t seen = word.load();
    while (seen < value && !word.compare_exchange_weak(seen, value)) {
    }
  }

  const uint32_t slots_;
  const std::unique_ptr<Words[]> words_;
  std::atomic<uint64_t> last_serial_{0};
  std::atomic<uint64_t> requested_upto_{0};
  std::atomic<uint64_t> requests_{0};
  uint64_t seen_ = 0;  // step thread
};

}  // namespace dsv3
