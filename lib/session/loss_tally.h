// What was sent again since it was asked last, over all rails of a session: each event once, though rails that go by
// one device are all told what that counts. And whose transfers it is charged to: those that are under way.
//
// A plain value, for one thread.
#ifndef MCP_LIB_SESSION_LOSS_TALLY_H_
#define MCP_LIB_SESSION_LOSS_TALLY_H_

#include <algorithm>
#include <cstdint>

#include "lib/wire/hello.h"

namespace mcp::internal {

// Of one rail.
struct RailLosses {
  uint64_t own = 0;      // sent again by the rail and by its connections alone
  uint64_t counter = 0;  // of a device that counts for several connections; 0: there is none
  uint64_t counted = 0;  // what that shows
  uint64_t before = 0;   // what it showed when the rail was connected
};

class LossTally {
 public:
  // That wait for transfers to be charged to: a burst is news once.
  static constexpr uint64_t kWaitingMax = 256;

  // All rails, one after the other, then Charge.
  void Add(uint32_t rail, const RailLosses& losses) {
    waiting_ += Grown(losses.own, &own_[rail]);
    if (losses.counter != 0) waiting_ += Grown(losses.counted, SeenOf(losses));
    waiting_ = std::min(waiting_, kWaitingMax);
  }

  // The share of a transfer that ends, of so many that are under way with it.
  uint32_t Charge(uint32_t under_way) {
    const uint64_t share = (waiting_ + under_way - 1) / std::max(1u, under_way);
    waiting_ -= share;
    return static_cast<uint32_t>(share);
  }

 private:
  struct Counter {
    uint64_t name = 0;
    uint64_t seen = 0;
  };

  static uint64_t Grown(uint64_t now, uint64_t* seen) {
    const uint64_t grown = now > *seen ? now - *seen : 0;
    *seen = std::max(*seen, now);
    return grown;
  }

  // Rails come and go by other devices; what has not been heard of for longest makes room, and is begun with anew.
  uint64_t* SeenOf(const RailLosses& losses) {
    for (Counter& counter : counters_) {
      if (counter.name == losses.counter) return &counter.seen;
    }
    Counter& counter = counters_[next_++ % kRailsMax];
    counter = {losses.counter, losses.before};
    return &counter.seen;
  }

  uint64_t own_[kRailsMax] = {};
  Counter counters_[kRailsMax];
  uint32_t next_ = 0;
  uint64_t waiting_ = 0;
};

}  // namespace mcp::internal

#endif  // MCP_LIB_SESSION_LOSS_TALLY_H_
