#include "perf/sim/transfer_sim.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace mcp::internal {
namespace {

constexpr uint64_t kBytes = 1 << 20;
const Alternative kBulk{.protocol = Protocol::kBulk, .rails = 1};
const Alternative kStream{.protocol = Protocol::kStream, .rails = 1};
const Alternative kReplica{.protocol = Protocol::kReplica, .rails = 3};

double Mean(const Alternative& alternative, uint64_t bytes, const std::vector<RailState>& rails, int runs = 300) {
  double sum = 0;
  for (int seed = 1; seed <= runs; ++seed) {
    const Outcome outcome = SimulateTransfer(alternative, bytes, rails, HostCosts(), static_cast<uint64_t>(seed));
    EXPECT_FALSE(outcome.failed);
    sum += static_cast<double>(outcome.latency_ns);
  }
  return sum / runs;
}

RailState Still() { return {.jitter = 0, .stall_share = 0}; }

// Where nothing is random the time can be added up by hand.
TEST(TransferSim, ABulkTransferTakesTheSumOfItsParts) {
  const RailState rail = Still();
  const HostCosts costs;
  const Outcome outcome = SimulateTransfer(kBulk, kBytes, std::vector<RailState>{rail}, costs, 1);
  const int64_t rendezvous = 2 * (costs.post_ns + costs.notice_ns + rail.latency_ns);
  const int64_t payload = costs.post_ns + static_cast<int64_t>(kBytes / rail.bytes_per_ns) + rail.latency_ns;
  const int64_t verify = static_cast<int64_t>(kBytes / costs.verify_all_bytes_per_ns);
  const int64_t report = costs.post_ns + rail.latency_ns + costs.notice_ns;
  EXPECT_NEAR(static_cast<double>(outcome.latency_ns),
              static_cast<double>(rendezvous + payload + costs.notice_ns + verify + report), 20);
  EXPECT_EQ(outcome.retransmits, 0u);
}

TEST(TransferSim, TheSameSeedGivesTheSameOutcomeAndAnotherAnother) {
  const std::vector<RailState> rails(2, RailState{.loss = 0.01});
  for (const Alternative& alternative : {kBulk, kStream, kReplica}) {
    const Outcome first = SimulateTransfer(alternative, kBytes, rails, HostCosts(), 7);
    const Outcome again = SimulateTransfer(alternative, kBytes, rails, HostCosts(), 7);
    const Outcome other = SimulateTransfer(alternative, kBytes, rails, HostCosts(), 8);
    EXPECT_EQ(first.latency_ns, again.latency_ns);
    EXPECT_EQ(first.retransmits, again.retransmits);
    EXPECT_NE(first.latency_ns, other.latency_ns);
  }
}

TEST(TransferSim, LossCostsWholeWindowsInBulkAndChunksInAStream) {
  const std::vector<RailState> clean(1), lossy(1, RailState{.loss = 0.05});
  const double bulk = Mean(kBulk, kBytes, lossy) - Mean(kBulk, kBytes, clean);
  const double stream = Mean(kStream, kBytes, lossy) - Mean(kStream, kBytes, clean);
  EXPECT_GT(bulk, 1.2 * stream);
  EXPECT_LT(Mean(kBulk, kBytes, clean), Mean(kStream, kBytes, clean));
}

// Go-back-N goodput: each loss costs a round trip's worth of bytes and a round trip.
TEST(TransferSim, GoodputUnderLossIsThatOfGoBackN) {
  RailState rail = Still();
  rail.loss = 0.001;
  constexpr uint64_t kLong = 64 << 20;
  const double clean = Mean(kBulk, kLong, {Still()}, 1);
  const double lossy = Mean(kBulk, kLong, {rail}, 40);
  const double packets = static_cast<double>(kLong) / HostCosts().packet_bytes;
  const double per_loss =
      2.0 * static_cast<double>(rail.latency_ns) + 2.0 * HostCosts().packet_bytes / rail.bytes_per_ns;
  EXPECT_NEAR((lossy - clean) / (packets * rail.loss * per_loss), 1, 0.1);
}

TEST(TransferSim, TheFirstCopyWins) {
  std::vector<RailState> rails(2, Still());
  rails[0].bytes_per_ns = 1;
  const double replica = Mean(kReplica, kBytes, rails, 1);
  const double fast = Mean({.protocol = Protocol::kBulk, .rails = 2}, kBytes, rails, 1);
  EXPECT_GT(replica, fast);
  EXPECT_LT(replica, 1.5 * fast);
  rails[1].up = false;
  EXPECT_FALSE(SimulateTransfer(kReplica, kBytes, rails, HostCosts(), 1).failed) << "one copy is enough";
}

TEST(TransferSim, ADeadRailFailsInBoundedTime) {
  const std::vector<RailState> rails(1, RailState{.up = false});
  for (const Alternative& alternative : {kBulk, kStream, Alternative{.protocol = Protocol::kEager, .rails = 1}}) {
    const Outcome outcome = SimulateTransfer(alternative, 4096, rails, HostCosts(), 1);
    EXPECT_TRUE(outcome.failed);
    EXPECT_EQ(outcome.latency_ns, HostCosts().failure_ns);
  }
}

TEST(TransferSim, EagerWinsWhereTheRoundTripIsMoreThanTheCopies) {
  const std::vector<RailState> rails(1);
  const Alternative eager{.protocol = Protocol::kEager, .rails = 1};
  EXPECT_LT(Mean(eager, 4096, rails), Mean(kBulk, 4096, rails));
  EXPECT_GT(Mean(eager, 256 << 10, rails), Mean(kBulk, 256 << 10, rails));
}

}  // namespace
}  // namespace mcp::internal
