// Finds the slot of the range that an address falls into: the starts of disjoint ranges, sorted.
//
// Thread rule: one writer at a time, inside a Change; any number of readers, which lock nothing. A reader takes
// Sequence(), searches, and believes what it found only if Unchanged() says so afterwards. Searches during a change
// give wrong answers but stay inside the arrays.
//
// Cost. Callers come back with the same addresses, so the position found is kept by a hash of the address's page, and
// is checked against its neighbours instead of trusted: about 4 ns. Without that a search takes 15 ns among 64 ranges
// and 40 ns among 4096. A change moves up to 12 bytes a range.
#ifndef MCP_LIB_MEMORY_RANGE_INDEX_H_
#define MCP_LIB_MEMORY_RANGE_INDEX_H_

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "lib/base/assert.h"

namespace mcp::internal {

class RangeIndex {
 public:
  static constexpr uint32_t kNone = ~uint32_t{0};

  explicit RangeIndex(uint32_t capacity)
      : capacity_(capacity),
        hint_shift_(64 - std::bit_width(capacity) - 2),
        hints_(new std::atomic<uint32_t>[size_t{1} << (64 - hint_shift_)]()),
        starts_(new std::atomic<uint64_t>[capacity]()),
        slots_(new std::atomic<uint32_t>[capacity]()) {}

  // Odd during a change: then there is nothing to search.
  uint64_t Sequence() const { return sequence_.load(std::memory_order_acquire); }
  // Sequentially consistent, so that what a reader wrote before it (a count of users) is seen by a writer whose change
  // this did not see.
  bool Unchanged(uint64_t sequence) const { return sequence_.load(std::memory_order_seq_cst) == sequence; }

  // The slot of the last range that starts at or before `address`, or kNone.
  uint32_t Find(uint64_t address) const {
    std::atomic<uint32_t>& hint = hints_[((address >> 12) * 0x9e3779b97f4a7c15) >> hint_shift_];
    uint32_t position = hint.load(std::memory_order_relaxed);
    if (!IsPositionOf(position, address)) {
      position = PositionOf(address);
      if (position == kNone) return kNone;
      hint.store(position, std::memory_order_relaxed);
    }
    return SlotAt(position);
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

  // Where Find finds. Eight ways at a time, counting instead of branching: for random addresses half of all branches
  // would be mispredicted, and a search in halves waits for twelve loads in turn.
  uint32_t PositionOf(uint64_t address) const {
    uint32_t remaining = size();
    if (remaining == 0 || StartAt(0) > address) return kNone;
    uint32_t position = 0;
    while (remaining >= 8) {
      const uint32_t step = remaining / 8;
      uint32_t passed = 0;
      for (uint32_t i = 1; i < 8; ++i) passed += static_cast<uint32_t>(StartAt(position + i * step) <= address);
      position += passed * step;
      remaining = passed == 7 ? remaining - 7 * step : step;
    }
    uint32_t passed = 0;
    for (uint32_t i = 1; i < remaining; ++i) passed += static_cast<uint32_t>(StartAt(position + i) <= address);
    return position + passed;
  }

 private:
  // Release: who reads a value of this change and then the sequence sees that a change began.
  void Put(uint32_t position, uint64_t start, uint32_t slot) {
    starts_[position].store(start, std::memory_order_release);
    slots_[position].store(slot, std::memory_order_release);
  }

  bool IsPositionOf(uint32_t position, uint64_t address) const {
    const uint32_t count = size();
    return position < count && StartAt(position) <= address &&
           (position + 1 == count || StartAt(position + 1) > address);
  }

  const uint32_t capacity_;
  const int hint_shift_;
  const std::unique_ptr<std::atomic<uint32_t>[]> hints_;  // positions; may be out of date
  const std::unique_ptr<std::atomic<uint64_t>[]> starts_;
  const std::unique_ptr<std::atomic<uint32_t>[]> slots_;
  std::atomic<uint32_t> count_{0};
  std::atomic<uint64_t> sequence_{0};
};

}  // namespace mcp::internal

#endif  // MCP_LIB_MEMORY_RANGE_INDEX_H_
