#include "lib/session/path_choice.h"

#include <gtest/gtest.h>

#include "lib/base/log.h"
#include "lib/context/policies.h"
#include "lib/session/lane_context.h"

namespace mcp::internal {
namespace {

constexpr uint64_t kBytes = 1 << 20;
constexpr int64_t kUsual = 100'000;

class PathChoiceTest : public ::testing::Test {
 protected:
  PathChoiceTest() { choice_.Enter(2, PathStatistics()); }

  void Complete(const TransferChoice& choice, int64_t latency_ns = kUsual) {
    choice_.Complete(choice, kBytes, now_ns_ += latency_ns);
  }
  // The next transfer that is a probe; all before it complete.
  TransferChoice NextProbe(int* transfers) {
    for (*transfers = 0; *transfers < 2000; ++*transfers) {
      const TransferChoice choice = choice_.Choose(kBytes, now_ns_);
      if (choice.probe) return choice;
      Complete(choice);
    }
    ADD_FAILURE() << "nothing is probed";
    return choice_.Choose(kBytes, now_ns_);
  }
  float Reliability(uint8_t alternative) { return context_.advisor().Predictions(0, kBytes)[alternative].reliability; }

  Logger logger_{LogLevel::kError};
  ModelPolicy policy_;
  LaneContext context_{&policy_, std::nullopt, nullptr, &logger_};
  PathChoice choice_{&context_};
  int64_t now_ns_ = 0;
};

TEST_F(PathChoiceTest, AProbeThatIsAbandonedMakesRoomForTheNext) {
  int transfers = 0;
  const TransferChoice first = NextProbe(&transfers);
  choice_.Abandon(first, kBytes);
  Complete(NextProbe(&transfers));
  EXPECT_LE(transfers, 40) << "not only once it is taken for lost, hundreds of transfers later";
}

TEST_F(PathChoiceTest, AProbeThatFailsMakesRoomForTheNextAndIsNoSuccess) {
  int transfers = 0;
  Complete(NextProbe(&transfers));
  const TransferChoice first = NextProbe(&transfers);
  const float before = Reliability(first.alternative);
  choice_.Fail(first, kBytes, now_ns_ += 50 * kUsual);
  EXPECT_LT(Reliability(first.alternative), before);
  choice_.Abandon(NextProbe(&transfers), kBytes);
  EXPECT_LE(transfers, 40);
}

// Nothing of it says how long it would have taken; but longer than it was waited for.
TEST_F(PathChoiceTest, WhatTheChosenWayDoesNotCarryInTimeIsLeft) {
  for (int i = 0; i < 300; ++i) Complete(choice_.Choose(kBytes, now_ns_));
  TransferChoice choice = choice_.Choose(kBytes, now_ns_);
  while (choice.probe) {
    Complete(choice);
    choice = choice_.Choose(kBytes, now_ns_);
  }
  const uint8_t stuck = choice.alternative;
  choice_.Abandon(choice, kBytes);
  int left = 0;
  for (int i = 0; i < 60; ++i) {
    choice = choice_.Choose(kBytes, now_ns_);
    left += choice.alternative != stuck ? 1 : 0;
    if (choice.alternative == stuck) {
      choice_.Fail(choice, kBytes, now_ns_ += 20 * kUsual);
    } else {
      Complete(choice);
    }
  }
  EXPECT_GE(left, 45);
}

TEST_F(PathChoiceTest, AfterTheSessionsEndAllMayEndAnyhow) {
  const TransferChoice done = choice_.Choose(kBytes, now_ns_);
  const TransferChoice failed = choice_.Choose(kBytes, now_ns_);
  const TransferChoice cancelled = choice_.Choose(kBytes, now_ns_);
  choice_.Leave();
  Complete(done);
  choice_.Fail(failed, kBytes, now_ns_);
  choice_.Abandon(cancelled, kBytes);
  EXPECT_EQ(choice_.Choose(kBytes, now_ns_).protocol, Protocol::kBulk);
}

}  // namespace
}  // namespace mcp::internal
