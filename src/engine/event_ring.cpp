#include "engine/event_ring.h"

#include <cstring>
#include <new>

#include "base/error.h"

namespace dsv3 {

void EventRing::carve(Carver& carver, uint32_t capacity) {
  slots_ = carver.take<Slot>(capacity);
  capacity_ = capacity;
  first_ = 0;
  size_ = 0;
}

void EventRing::push(const Event& event, std::string_view text) {
  DSV3_ASSERT(size_ < capacity_ && text.size() <= kEventTextBytes);
  Slot* slot = &slots_[(first_ + size_) % capacity_];
  new (&slot->event) Event(event);
  slot->event.text = nullptr;
  slot->event.text_bytes = static_cast<uint32_t>(text.size());
  if (!text.empty()) std::memcpy(slot->text, text.data(), text.size());
  ++size_;
}

void EventRing::pop(Event* out, char* text) {
  DSV3_ASSERT(size_ > 0);
  const Slot& slot = slots_[first_];
  *out = slot.event;
  if (out->kind == EventKind::kText) {
    std::memcpy(text, slot.text, slot.event.text_bytes);
    out->text = text;
  }
  first_ = (first_ + 1) % capacity_;
  --size_;
}

void EventRing::keep_last() {
  if (size_ <= 1) return;
  first_ = (first_ + size_ - 1) % capacity_;
  size_ = 1;
}

}  // namespace dsv3
