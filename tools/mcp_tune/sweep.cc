#include "tools/mcp_tune/sweep.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "lib/base/random.h"
#include "perf/sim/transfer_sim.h"

namespace mcp::internal {
namespace {

constexpr uint64_t kSmallest = 4 << 10;
constexpr uint64_t kOctaves = 13;  // to 16 MiB
constexpr uint64_t kEagerMax = 256 << 10;

// Learns as an engine does, so that the figures mean the same.
ProfileAlternative Measure(const Alternative& alternative, const RailState& rail, const SweepOptions& options) {
  Estimator estimator;
  std::vector<KeyState> keys(kSizeClasses);
  Random random(options.seed);
  const std::vector<RailState> rails(1, rail);
  for (uint32_t i = 0; i < options.transfers; ++i) {
    const uint64_t bytes = std::min(kSmallest << random.Below(kOctaves), alternative.bytes_max);
    const Outcome outcome = SimulateTransfer(alternative, bytes, rails, HostCosts(), random.Next());
    estimator.Add(bytes, outcome.latency_ns, outcome.retransmits, true, &keys[SizeClassOf(bytes)]);
  }
  return {alternative, estimator.base_ns(), estimator.ns_per_byte(), static_cast<double>(options.transfers)};
}

}  // namespace

Profile Sweep(const SweepOptions& options) {
  const std::vector<Alternative> alternatives = {{.protocol = Protocol::kBulk},
                                                 {.protocol = Protocol::kStream},
                                                 {.protocol = Protocol::kEager, .bytes_max = kEagerMax}};
  Profile profile;
  profile.origin =
      absl::StrCat("simulated, ", options.transfers, " transfers a protocol and point, seed ", options.seed);
  for (double gigabits : options.gigabits_per_s) {
    for (double latency_us : options.latencies_us) {
      for (double loss : options.losses) {
        RailState rail;
        rail.bytes_per_ns = gigabits / 8;
        rail.latency_ns = static_cast<int64_t>(latency_us * 1000);
        rail.loss = loss;
        ProfilePoint point{{rail.bytes_per_ns, static_cast<double>(rail.latency_ns), loss}, {}};
        for (const Alternative& alternative : alternatives) {
          point.alternatives.push_back(Measure(alternative, rail, options));
        }
        profile.points.push_back(std::move(point));
      }
    }
  }
  return profile;
}

}  // namespace mcp::internal
