// How many operations one rail (or a session's home lane) has accepted and not completed, and the names they get.
//
// Nearly all of it happens on the lane that owns the counter, where a plain load and store will do; other threads use
// atomic read-modify-write on a part of their own. The sum is what counts; either part may be negative.
#ifndef MCP_LIB_SESSION_PLACE_COUNTER_H_
#define MCP_LIB_SESSION_PLACE_COUNTER_H_

#include <atomic>
#include <cstdint>

namespace mcp::internal {

class PlaceCounter {
 public:
  // `own`: the caller is the lane that owns the counter. False when `limit` places are taken.
  bool Take(bool own, uint32_t limit) {
    if (own) {
      if (count() >= limit) return false;
      Add(&local_, 1);
      return true;
    }
    // Two others may both overshoot, and both step back: the limit holds.
    shared_.fetch_add(1, std::memory_order_acq_rel);
    if (count() <= limit) return true;
    shared_.fetch_sub(1, std::memory_order_acq_rel);
    return false;
  }

  void GiveBack(bool own) {
    if (own) {
      Add(&local_, -1);
    } else {
      shared_.fetch_sub(1, std::memory_order_acq_rel);
    }
  }

  int64_t count() const { return local_.load(std::memory_order_acquire) + shared_.load(std::memory_order_acquire); }

  // Never the same twice: even numbers on the lane, odd ones elsewhere. Never 0.
  uint64_t NextNumber(bool own) {
    if (own) {
      local_number_ += 2;
      return local_number_;
    }
    return shared_number_.fetch_add(2, std::memory_order_relaxed);
  }

 private:
  static void Add(std::atomic<int64_t>* value, int64_t amount) {
    value->store(value->load(std::memory_order_relaxed) + amount, std::memory_order_release);
  }

  std::atomic<int64_t> local_{0};
  uint64_t local_number_ = 0;
  alignas(64) std::atomic<int64_t> shared_{0};
  std::atomic<uint64_t> shared_number_{1};
};

}  // namespace mcp::internal

#endif  // MCP_LIB_SESSION_PLACE_COUNTER_H_
