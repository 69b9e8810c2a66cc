// What the advisor knows of one peer; its own, for advisor.cc (what is decided) and advisor_learn.cc (what is learned).
#ifndef MCP_LIB_CONTEXT_ADVISOR_PEER_H_
#define MCP_LIB_CONTEXT_ADVISOR_PEER_H_

#include <algorithm>
#include <cstdint>

#include "lib/context/advisor.h"
#include "lib/context/change_rate.h"

namespace mcp::internal {

inline constexpr uint32_t kUnsettledTransfers = 40;  // after a change, decisions follow every sample
inline constexpr float kAgeVarianceMax = 4.0f;
// Changes are followed up to a rate: beyond, learning anew costs more than it gains.
inline constexpr float kFollowRate = 1.0f / 150;  // a transfer
inline constexpr float kFollowMax = 4;
inline constexpr uint64_t kInUse = 2;   // transfers since the last, probes aside
inline constexpr int64_t kAgeMin = 16;  // transfers; younger is taken for fresh

struct Advisor::Peer {
  uint32_t alternative_count = 0;
  Alternative alternatives[kAlternativesMax];
  struct Known {
    Estimator estimator;
    uint64_t last_sample = 0;  // in transfers
    uint64_t last_use = 0;     // the same, probes aside
    uint64_t deferred_at = 0;  // the same, of the newest sample that is deferred
    double unseen = 0;         // changes of the path, as they were assumed at the last sample
  };
  Known known[kAlternativesMax];

  // For another size, perhaps: it sees for itself what happens on the path.
  bool InUse(uint32_t alternative) const {
    const uint64_t last_use = known[alternative].last_use;
    return last_use != 0 && transfers - last_use <= kInUse;
  }

  // Whether there is an alternative that uses none of these rails.
  bool CanAvoid(uint16_t rails) const {
    return std::any_of(alternatives, alternatives + alternative_count,
                       [&](const Alternative& alternative) { return (alternative.rails & rails) == 0; });
  }

  // By how much log2 of the alternative's cost may have wandered since it was last used.
  float AgeVariance(uint32_t alternative) const {
    const auto age = static_cast<int64_t>(transfers - known[alternative].last_sample);
    if (age <= kAgeMin) return 0;
    return std::min(kAgeVarianceMax, changes.Wandered(static_cast<float>(age - kAgeMin), known[alternative].unseen));
  }

  Key* keys[kAlternativesMax][kSizeClasses] = {};
  uint64_t transfers = 0;  // that are learned
  uint32_t unsettled = kUnsettledTransfers;
  bool losses_began = false;  // since it is unsettled
  uint8_t changed_by = 0;     // the alternative whose samples said so last
  bool looked_again = false;
  bool probe_out = false;
  uint32_t decisions_due = 0;  // bit c: of size class c, once what is deferred is learned
  uint32_t deferred = 0;       // samples, of all alternatives
  uint64_t last_tick = 0;
  uint64_t last_probe = 0;
  double probe_budget_ns = 0;
  int64_t spent_ns = 0;  // in transfers since the last tick
  float tails = 0;       // cut off since the last tick
  float tail_squares = 0;
  ChangeRate changes;
  float changes_followed = kFollowMax;  // how many may be, now
  UsualTail tail;
  uint16_t quarantined = 0;  // rails
  int64_t quarantine_until_ns[kRails] = {};
  int64_t quarantine_ns[kRails] = {};
};

}  // namespace mcp::internal

#endif  // MCP_LIB_CONTEXT_ADVISOR_PEER_H_
