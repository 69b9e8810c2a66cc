// Finds the slot of the range that an address falls into: the starts of disjoint ranges, sorted.
//
// Thread rule: one writer at a time, inside a Change; any number of readers, which lock nothing. A reader takes
// Sequence(), searches, and believes what it found only if Unchanged() says so afterwards. Searches during a change
// give wrong answers but stay inside the arrays.
//
// Cost. Callers come back with the same addresses, so the position found is kept by a hash of the address's page, and
// is checked against its neighbours instead of trusted: about 4 ns. Without that a search reads a cache line for every
// factor of 8 in the number of ranges: 30 ns among 4096. A change moves up to 12 bytes a range.
#ifndef MCP_LIB_MEMORY_RANGE_INDEX_H_
#define MCP_LIB_MEMORY_RANGE_INDEX_H_

#include <algorithm>
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
        slots_(new std::atomic<uint32_t>[capacity]()) {
    LayOutLevels();
  }

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
      index_->Put(position, kEmpty, 0);
      index_->count_.store(count - 1, std::memory_order_release);
    }

   private:
    RangeIndex* const index_;
  };

  uint32_t size() const { return count_.load(std::memory_order_acquire); }
  uint64_t StartAt(uint32_t position) const { return Start(0, position).load(std::memory_order_acquire); }
  uint32_t SlotAt(uint32_t position) const { return slots_[position].load(std::memory_order_acquire); }

  // Where Find finds. Counts instead of branching, since for random
  // addresses half of all branches would be mispredicted.
  uint32_t PositionOf(uint64_t address) const {
    const uint32_t count = size();
    if (count == 0 || StartAt(0) > address) return kNone;
    uint32_t position = 0;
    for (int level = levels_ - 1; level >= 0; --level) {
      const Line& line = lines_[level_begin_[level] + position];
      uint32_t passed = 0;
      for (uint32_t i = 1; i < kFanout; ++i)
        passed += line.starts[i].load(std::memory_order_acquire) <= address ? 1 : 0;
      position = position * kFanout + passed;
    }
    return std::min(position, count - 1);
  }

 private:
  static constexpr uint32_t kFanout = 8;  // a cache line of starts
  static constexpr int kLevelsMax = 11;
  static constexpr uint64_t kEmpty = ~uint64_t{0};

  struct alignas(64) Line {
    std::atomic<uint64_t> starts[kFanout];
  };

  // Level 0 is the sorted starts; each further level has every eighth of the one below, so that a search reads one
  // cache line a level. All are filled up with kEmpty.
  void LayOutLevels() {
    size_t lines = 1;
    for (levels_ = 1; lines * kFanout < capacity_; ++levels_) lines *= kFanout;
    size_t total = 0;
    for (int level = 0; level < levels_; ++level, lines /= kFanout) {
      level_begin_[level] = total;
      total += lines;
    }
    lines_.reset(new Line[total]);
    for (size_t i = 0; i < total; ++i) {
      for (std::atomic<uint64_t>& start : lines_[i].starts) start.store(kEmpty, std::memory_order_relaxed);
    }
  }

  std::atomic<uint64_t>& Start(int level, uint32_t position) const {
    return lines_[level_begin_[level] + position / kFanout].starts[position % kFanout];
  }

  // Release: who reads a value of this change and then the sequence sees that a change began.
  void Put(uint32_t position, uint64_t start, uint32_t slot) {
    slots_[position].store(slot, std::memory_order_release);
    for (int level = 0; level < levels_; ++level, position /= kFanout) {
      Start(level, position).store(start, std::memory_order_release);
      if (position % kFanout != 0) return;
    }
  }

  bool IsPositionOf(uint32_t position, uint64_t address) const {
    const uint32_t count = size();
    return position < count && StartAt(position) <= address &&
           (position + 1 == count || StartAt(position + 1) > address);
  }

  const uint32_t capacity_;
  const int hint_shift_;
  const std::unique_ptr<std::atomic<uint32_t>[]> hints_;  // positions; may be out of date
  int levels_ = 0;
  size_t level_begin_[kLevelsMax];
  std::unique_ptr<Line[]> lines_;
  const std::unique_ptr<std::atomic<uint32_t>[]> slots_;
  std::atomic<uint32_t> count_{0};
  std::atomic<uint64_t> sequence_{0};
};

}  // namespace mcp::internal

#endif  // MCP_LIB_MEMORY_RANGE_INDEX_H_
