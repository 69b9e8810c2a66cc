// Bounded first-in first-out queue for one thread. Slots are allocated once; popped items are destroyed at once.
#ifndef MCP_LIB_BASE_RING_H_
#define MCP_LIB_BASE_RING_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>

#include "lib/base/assert.h"

namespace mcp::internal {

template <class T>
class Ring {
 public:
  explicit Ring(uint32_t capacity)
      : capacity_(capacity), mask_(std::bit_ceil(capacity) - 1), slots_(new Slot[size_t{mask_} + 1]) {}

  ~Ring() { Clear(); }

  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  uint32_t capacity() const { return capacity_; }
  uint32_t size() const { return tail_ - head_; }
  bool empty() const { return head_ == tail_; }
  bool full() const { return size() == capacity_; }

  // Must not be full.
  template <class... Arguments>
  T& EmplaceBack(Arguments&&... arguments) {
    MCP_ASSERT(!full());
    return *new (slots_[tail_++ & mask_].storage) T(std::forward<Arguments>(arguments)...);
  }
  void PushBack(T item) { EmplaceBack(std::move(item)); }

  // These need an item.
  T& Front() { return At(0); }
  const T& Front() const { return At(0); }
  T& Back() { return At(size() - 1); }
  void PopFront() {
    Front().~T();
    ++head_;
  }

  // Counted from the front.
  T& At(uint32_t index) {
    MCP_ASSERT(index < size());
    return *slots_[(head_ + index) & mask_].item();
  }
  const T& At(uint32_t index) const { return const_cast<Ring*>(this)->At(index); }

  void Clear() {
    while (!empty()) PopFront();
  }

 private:
  struct Slot {
    T* item() { return std::launder(reinterpret_cast<T*>(storage)); }
    alignas(T) std::byte storage[sizeof(T)];
  };

  const uint32_t capacity_;
  const uint32_t mask_;
  const std::unique_ptr<Slot[]> slots_;
  uint32_t head_ = 0;  // both count on for ever; their difference is right across the wrap
  uint32_t tail_ = 0;
};

}  // namespace mcp::internal

#endif  // MCP_LIB_BASE_RING_H_
