// What a fault transport does to its traffic: seeded, counted, bounded.
#ifndef MCP_TRANSPORTS_FAULT_FAULT_PLAN_H_
#define MCP_TRANSPORTS_FAULT_FAULT_PLAN_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "lib/base/random.h"

namespace mcp::internal {

enum class FaultKind : uint8_t {
  kDrop,            // a message, or a write with its message, never arrives
  kDelay,           // it and all behind it on the connection arrive later
  kReorder,         // a message arrives after later work; writes are never reordered
  kDuplicate,       // a message arrives twice, the second time at once or later
  kCorruptHeader,   // bytes of the header of a message or a write change
  kCorruptPayload,  // bytes of a message's payload change
  kCorruptWrite,    // bytes of a write's payload change, on the way: never in the lender's memory
  kTruncate,        // the payload, or where there is none the header, loses its end
  kKill,            // the connection closes
  kPartialPost,     // Post takes less than it could
  kPartialPoll,     // Poll gives fewer events than it could
  kCorruptHello,    // bytes of a hello change, in either direction
};
inline constexpr size_t kFaultKinds = 12;

// "corrupt_write"
absl::string_view FaultKindName(FaultKind kind);

enum FaultTarget : uint32_t {
  kFaultTargetMessages = 1u << 0,
  kFaultTargetWrites = 1u << 1,
};

struct FaultPlan {
  uint64_t seed = 1;
  // Chance of each fault for each work request (partial post, partial poll, hello: for each call). At most one fault
  // befalls a work request, so those rates add up to at most 1.
  std::array<double, kFaultKinds> rates{};
  // Over all transports of the plan, all kinds together.
  uint64_t faults_max = std::numeric_limits<uint64_t>::max();
  // Work requests that each transport leaves alone at first.
  uint64_t spared_first = 0;
  uint32_t targets = kFaultTargetMessages | kFaultTargetWrites;
  // Of each transport, only the work of the connection with that id.
  std::optional<uint32_t> only_connection;
  // How long delayed work, and the second copy of a duplicate, is held at most, under the injected clock.
  int64_t delay_ns_max = 2'000'000;
  // A reordered message waits for this many later ones at most, and for delay_ns_max.
  uint32_t reorder_distance_max = 4;

  static FaultPlan Only(FaultKind kind, double rate, uint64_t seed);
  // Every kind in `kinds` at that rate.
  static FaultPlan Mix(std::initializer_list<FaultKind> kinds, double rate, uint64_t seed);

  double rate(FaultKind kind) const { return rates[static_cast<size_t>(kind)]; }
  void set_rate(FaultKind kind, double rate) { rates[static_cast<size_t>(kind)] = rate; }
  bool inert() const;
  // "seed 7: drop 0.01, kill 0.001"
  std::string ToString() const;
};

// The plan and what was done, shared by the transports of one test. Thread rule: any thread.
class FaultLedger {
 public:
  explicit FaultLedger(const FaultPlan& plan) : plan_(plan), seeds_(plan.seed) {}

  const FaultPlan& plan() const { return plan_; }

  // Faults done so far.
  uint64_t count(FaultKind kind) const { return counts_[static_cast<size_t>(kind)].load(std::memory_order_relaxed); }
  uint64_t total() const { return total_.load(std::memory_order_relaxed); }
  // "drop 3, delay 1"
  std::string ToString() const;

  // From now on no transport of the plan does anything further; what is held is released.
  void Stop() { stopped_.store(true, std::memory_order_relaxed); }

  // Again as planned, after Stop.
  void Start() { stopped_.store(false, std::memory_order_relaxed); }

  // For the transports. Take counts the fault and says whether it may be done.
  bool Take(FaultKind kind);
  bool stopped() const { return stopped_.load(std::memory_order_relaxed); }
  // One for each transport, in the order of their making.
  Random MakeRandom() { return Random(seeds_.fetch_add(0x9e3779b97f4a7c15)); }

 private:
  const FaultPlan plan_;
  std::array<std::atomic<uint64_t>, kFaultKinds> counts_{};
  std::atomic<uint64_t> total_{0};
  std::atomic<uint64_t> seeds_;
  std::atomic<bool> stopped_{false};
};

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_FAULT_FAULT_PLAN_H_
