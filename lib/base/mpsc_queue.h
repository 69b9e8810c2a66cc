// Bounded queue from any thread to one.
//
// A ring of cells with a sequence number each, after Vyukov's bounded queue: producers take a ticket with one
// compare-and-swap, fill their cell and publish it by its number. No locks, no allocation after construction.
// Cost: about one contended cache line a push, and none a pop while the producers are ahead.
//
// Thread rule: TryPush and EmptyApprox from any thread; TryPop from one thread at a time. Items of one producer come
// out in the order in which it pushed them. A producer that is preempted inside TryPush hides what was pushed after it
// until it goes on; it blocks nobody.
#ifndef MCP_LIB_BASE_MPSC_QUEUE_H_
#define MCP_LIB_BASE_MPSC_QUEUE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>

#include "lib/base/assert.h"

namespace mcp::internal {

template <class T>
class MpscQueue {
 public:
  // `capacity` is a power of two, at least 2.
  explicit MpscQueue(uint32_t capacity) : mask_(capacity - 1), cells_(new Cell[capacity]) {
    MCP_ASSERT(capacity >= 2 && (capacity & (capacity - 1)) == 0);
    for (uint32_t i = 0; i < capacity; ++i) cells_[i].sequence.store(i, std::memory_order_relaxed);
  }

  ~MpscQueue() {
    while (Cell* cell = Ready()) Release(cell);
  }

  MpscQueue(const MpscQueue&) = delete;
  MpscQueue& operator=(const MpscQueue&) = delete;

  // False when the queue is full; then `item` is untouched.
  bool TryPush(T&& item) {
    uint64_t ticket = tail_.load(std::memory_order_relaxed);
    Cell* cell;
    for (;;) {
      cell = &cells_[ticket & mask_];
      const int64_t lead = static_cast<int64_t>(cell->sequence.load(std::memory_order_acquire) - ticket);
      if (lead < 0) return false;  // still holds the item of one lap ago
      if (lead > 0) {              // another producer has taken this ticket
        ticket = tail_.load(std::memory_order_relaxed);
        continue;
      }
      // Sequentially consistent for EmptyApprox's sake.
      if (tail_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_seq_cst, std::memory_order_relaxed)) break;
    }
    new (cell->storage) T(std::move(item));
    cell->sequence.store(ticket + 1, std::memory_order_release);
    return true;
  }

  bool TryPop(T* item) {
    Cell* cell = Ready();
    if (cell == nullptr) return false;
    *item = std::move(*cell->item());
    Release(cell);
    return true;
  }

  // Whether no push had begun that is not popped yet. A consumer that announces that it will sleep (a sequentially
  // consistent store) and then finds this true misses no producer that looks for the announcement after its push.
  bool EmptyApprox() const { return tail_.load(std::memory_order_seq_cst) == head_.load(std::memory_order_relaxed); }

  uint32_t capacity() const { return mask_ + 1; }

 private:
  struct Cell {
    T* item() { return std::launder(reinterpret_cast<T*>(storage)); }

    std::atomic<uint64_t> sequence;  // ticket: free for it; ticket + 1: holds its item
    alignas(T) std::byte storage[sizeof(T)];
  };

  Cell* Ready() {
    const uint64_t head = head_.load(std::memory_order_relaxed);
    Cell* cell = &cells_[head & mask_];
    return cell->sequence.load(std::memory_order_acquire) == head + 1 ? cell : nullptr;
  }

  void Release(Cell* cell) {
    cell->item()->~T();
    const uint64_t head = head_.load(std::memory_order_relaxed);
    cell->sequence.store(head + mask_ + 1, std::memory_order_release);
    head_.store(head + 1, std::memory_order_relaxed);
  }

  const uint32_t mask_;
  const std::unique_ptr<Cell[]> cells_;
  alignas(64) std::atomic<uint64_t> tail_{0};  // the producers' next ticket
  alignas(64) std::atomic<uint64_t> head_{0};  // written by the consumer alone
};

}  // namespace mcp::internal

#endif  // MCP_LIB_BASE_MPSC_QUEUE_H_
