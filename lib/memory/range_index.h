// Finds the slot of the range that an address falls into: the starts of disjoint ranges, sorted.
//
// Thread rule: one writer at a time, inside a Change; any number of readers, which lock nothing. A reader takes
// Sequence(), searches, and believes what it found only if Unchanged() says so afterwards. Searches during a change
// give wrong answers but stay inside the arrays.
//
// Cost: a search of 4096 ranges is 12 dependent loads in 32 KiB; a change moves up to 48 KiB.
#ifndef MCP_LIB_MEMORY_RANGE_INDEX_H_
#define MCP_LIB_MEMORY_RANGE_INDEX_H_

#include <atomic>
#include <cstdint>
#include <memory>

#include "lib/base/assert.h"

namespace mcp::internal {

class RangeIndex {
 public:
  static constexpr uint32_t kNone = ~uint32_t{0};

  explicit RangeIndex(uint32_t capacity)
      : capacity_(capacity),
        starts_(new std::atomic<uint64_t>[capacity]()),
        slots_(new std::atomic<uint32_t>[capacity]()) {}

  // Odd during a change: then there is nothing to search.
  uint64_t Sequence() const { return sequence_.load(std::memory_order_acquire); }
  // Sequentially consistent, so that what a reader wrote before it (a count of users) is seen by a writer whose change
  // this did not see.
  bool Unchanged(uint64_t sequence) const { return sequence_.load(std::memory_order_seq_cst) == sequence; }

  // The slot of the last range that starts at or before `address`, or kNone.
  uint32_t Find(uint64_t address) const {
    const uint32_t position = PositionOf(address);
    return position == kNone ? kNone : slots_[position].load(std::memory_order_acquire);
  }

  // For the writer.
  class Change {
   public:
    explicit Change(RangeIndex* index) : index_(index) { index_->sequence_.fetch_add(1, std::memory_order_seq_cst); }
    ~Change() { index_->sequence_.fetch_add(1, std::memory_order_seq_cst); }
    Change(const Change&) = delete;
    Change& operator=(const Change&) = delete;

    // No range of that start is there, and there is room.
    void Insert(uint64_t start, uint32_t slot) {
      const uint32_t count = index_->size();
      MCP_ASSERT(count < index_->capacity_);
      uint32_t position = count;
      for (; position > 0 && index_->StartAt(position - 1) > start; --position) {
        index_->Put(position, index_->StartAt(position - 1), index_->SlotAt(position - 1));
      }
      index_->Put(position, start, slot);
      index_->count_.store(count + 1, std::memory_order_release);
    }

    // A range with that start is there.
    void Remove(uint64_t start) {
      const uint32_t count = index_->size();
      uint32_t position = index_->PositionOf(start);
      MCP_ASSERT(position != kNone && index_->StartAt(position) == start);
      for (; position + 1 < count; ++position) {
        index_->Put(position, index_->StartAt(position + 1), index_->SlotAt(position + 1));
      }
      index_->count_.store(count - 1, std::memory_order_release);
    }

   private:
    RangeIndex* const index_;
  };

  uint32_t size() const { return count_.load(std::memory_order_acquire); }
  uint64_t StartAt(uint32_t position) const { return starts_[position].load(std::memory_order_acquire); }
  uint32_t SlotAt(uint32_t position) const { return slots_[position].load(std::memory_order_acquire); }

  // Where Find finds. Written so that compilers make it without branches: for random addresses half would be
  // mispredicted.
  uint32_t PositionOf(uint64_t address) const {
    uint32_t remaining = size();
    if (remaining == 0 || StartAt(0) > address) return kNone;
    uint32_t position = 0;
    while (remaining > 1) {
      const uint32_t half = remaining / 2;
      position += StartAt(position + half) <= address ? half : 0;
      remaining -= half;
    }
    return position;
  }

 private:
  // Release: who reads a value of this change and then the sequence sees that a change began.
  void Put(uint32_t position, uint64_t start, uint32_t slot) {
    starts_[position].store(start, std::memory_order_release);
    slots_[position].store(slot, std::memory_order_release);
  }

  const uint32_t capacity_;
  const std::unique_ptr<std::atomic<uint64_t>[]> starts_;
  const std::unique_ptr<std::atomic<uint32_t>[]> slots_;
  std::atomic<uint32_t> count_{0};
  std::atomic<uint64_t> sequence_{0};
};

}  // namespace mcp::internal

#endif  // MCP_LIB_MEMORY_RANGE_INDEX_H_
