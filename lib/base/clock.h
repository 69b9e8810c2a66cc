// Time, passed in so that it can be virtual.
//
// Thread rule: NowNs from any thread. A clock outlives whatever holds a pointer to it.
#ifndef MCP_LIB_BASE_CLOCK_H_
#define MCP_LIB_BASE_CLOCK_H_

#include <atomic>
#include <cstdint>

namespace mcp::internal {

class Clock {
 public:
  virtual ~Clock() = default;
  // Monotonic nanoseconds from an arbitrary origin.
  virtual int64_t NowNs() = 0;
  // The same as of a moment ago: not later than now, and behind it by kCoarseNsMax at most. For who only wants to know
  // that something is far off.
  virtual int64_t CoarseNowNs() { return NowNs(); }
  // Twice the tick of the slowest kernels.
  static constexpr int64_t kCoarseNsMax = 20'000'000;
};

// CLOCK_MONOTONIC, through the vDSO: 20 to 30 ns, no system call; the coarse one 6, without a look at the counter.
class SystemClock final : public Clock {
 public:
  int64_t NowNs() override;
  int64_t CoarseNowNs() override;
};

// Stands still until it is moved: virtual time for tests and simulation.
class ManualClock final : public Clock {
 public:
  explicit ManualClock(int64_t start_ns = 0) : now_ns_(start_ns) {}

  int64_t NowNs() override { return now_ns_.load(std::memory_order_acquire); }
  void Set(int64_t now_ns) { now_ns_.store(now_ns, std::memory_order_release); }
  void Advance(int64_t delta_ns) { now_ns_.fetch_add(delta_ns, std::memory_order_acq_rel); }

 private:
  std::atomic<int64_t> now_ns_;
};

}  // namespace mcp::internal

#endif  // MCP_LIB_BASE_CLOCK_H_
