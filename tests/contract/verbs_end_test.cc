// How connections end, and how they fail to begin, over the device in memory: what comes back, in which order, and who
// is told why.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "lib/base/units.h"
#include "tests/contract/verbs_fixture.h"
#include "tests/support/pattern.h"
#include "transports/verbs/handshake.h"

namespace mcp::internal {
namespace {

class VerbsEnds : public VerbsOnFake {
 protected:
  void CloseBoth() {
    a()->transport()->Close(mine_, absl::CancelledError("enough"));
    ASSERT_TRUE(BothClosed());
    a()->closed.clear();
    b()->closed.clear();
  }
  // Enough for an end that nothing is waited for, and short against what is: a goodbye has 200 ms, receives have 100.
  void PollForAMoment() {
    const int64_t until_ns = clock_.NowNs() + 10 * kNsPerMs;
    while (clock_.NowNs() < until_ns) {
      a()->Poll();
      b()->Poll();
    }
  }
};

// Both queue pairs have failed in the middle of a message.
TEST_F(VerbsEnds, ReceivesComeBackBeforeTheQueuePairGoes) {
  fabric_->SetLastReceives(FakeFabric::LastReceives::kKept);
  a()->transport()->Close(mine_, absl::CancelledError("enough"));
  PollForAMoment();
  EXPECT_TRUE(a()->closed.empty() && b()->closed.empty());
  fabric_->SetLastReceives(FakeFabric::LastReceives::kTold);
  EXPECT_TRUE(BothClosed());
}

TEST_F(VerbsEnds, ADeviceThatDoesNotTellOfReceivesHoldsNothingUp) {
  fabric_->SetLastReceives(FakeFabric::LastReceives::kUntold);
  const int64_t before_ns = clock_.NowNs();
  constexpr int kRounds = 50;
  for (int round = 0; round < kRounds; ++round) {
    CloseBoth();
    Connect();
  }
  EXPECT_LT(clock_.NowNs() - before_ns, kRounds * 100 * kNsPerMs) << "each was waited for";
}

TEST_F(VerbsEnds, ADeviceThatGoesMeanwhileIsNotWaitedFor) {
  log_.AllowErrors();
  fabric_->SetLastReceives(FakeFabric::LastReceives::kKept);
  fabric_->HoldSends(true);
  a()->transport()->Close(mine_, absl::CancelledError("enough"));
  a()->Poll();
  fabric_->Report(IBV_EVENT_DEVICE_FATAL);
  PollForAMoment();
  EXPECT_TRUE(a()->closed.count(mine_) > 0 && b()->closed.count(theirs_) > 0);
  fabric_->SetLastReceives(FakeFabric::LastReceives::kTold);
}

TEST_F(VerbsEnds, WhatADeviceThatIsGoneHoldsComesBackBeforeTheEnd) {
  log_.AllowErrors();
  fabric_->HoldSends(true);
  std::vector<WorkRequest> batch(20, MessageWork(mine_, AsBytes("header")));
  for (WorkRequest& work : batch) work.signaled = true;
  ASSERT_EQ(a()->transport()->Post(batch), batch.size());
  fabric_->Report(IBV_EVENT_DEVICE_FATAL);
  ASSERT_TRUE(Drive([&] { return a()->closed.count(mine_) > 0; }));
  EXPECT_EQ(a()->sent.size(), batch.size());
}

// Whose driver has let go of it, so that its descriptors stay readable.
TEST_F(VerbsEnds, ADeviceThatIsGoneDoesNotKeepALaneAwake) {
  log_.AllowErrors();
  fabric_->Report(IBV_EVENT_DEVICE_FATAL);
  ASSERT_TRUE(BothClosed());
  fabric_->Report(IBV_EVENT_PORT_ERR);
  constexpr int64_t kSleepNs = 20 * kNsPerMs;
  int64_t slept_ns = 0;
  for (int round = 0; round < 5 && slept_ns < kSleepNs; ++round) {  // what woke it before is not over yet
    const int64_t before_ns = clock_.NowNs();
    a()->transport()->Wait(before_ns + kSleepNs);
    slept_ns = clock_.NowNs() - before_ns;
    a()->Poll();
  }
  EXPECT_GE(slept_ns, kSleepNs);
}

TEST_F(VerbsEnds, WhoIsNotAcceptedHearsWhy) {
  const auto id = a()->transport()->Connect(address_, 0, AsBytes("hello"), nullptr, clock_.NowNs() + kPatienceNs);
  ASSERT_TRUE(id.ok()) << id.status();
  ASSERT_TRUE(Drive([&] { return !b()->pending.empty(); }));
  fabric_->RefuseQueuePairs(true);
  const auto accepted = b()->transport()->Accept(std::move(b()->pending.front()), AsBytes("welcome"), nullptr);
  b()->pending.pop_front();
  ASSERT_FALSE(accepted.ok());
  ASSERT_TRUE(Drive([&] { return a()->closed.count(*id) > 0; }));
  EXPECT_TRUE(absl::StrContains(a()->closed[*id].message(), "create a queue pair")) << a()->closed[*id];
}

// The caller comes by once in a while, as it does that drives a lane beside its own work.
TEST_F(VerbsEnds, AHelloInPiecesTakesFewRounds) {
  const std::vector<std::byte> hello = PatternBytes(5 * kHelloPieceMax, 1);
  const auto id = a()->transport()->Connect(address_, 0, hello, nullptr, clock_.NowNs() + kPatienceNs);
  ASSERT_TRUE(id.ok()) << id.status();
  int rounds = 0;
  for (; b()->pending.empty() && rounds < 1000; ++rounds) {
    for (const int64_t next_ns = clock_.NowNs() + 100 * kNsPerUs; clock_.NowNs() < next_ns;) {
    }
    a()->Poll();
    b()->Poll();
  }
  EXPECT_LE(rounds, 30);
}

}  // namespace
}  // namespace mcp::internal
