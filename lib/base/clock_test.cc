#include "lib/base/clock.h"

#include <gtest/gtest.h>

namespace mcp::internal {
namespace {

TEST(Clock, SystemClockNeverGoesBack) {
  SystemClock clock;
  int64_t previous_ns = clock.NowNs();
  EXPECT_GT(previous_ns, 0);
  for (int i = 0; i < 1000; ++i) {
    const int64_t now_ns = clock.NowNs();
    ASSERT_GE(now_ns, previous_ns);
    previous_ns = now_ns;
  }
}

TEST(Clock, CoarseTimeIsLittleBehind) {
  SystemClock clock;
  for (int i = 0; i < 1000; ++i) {
    const int64_t before_ns = clock.NowNs();
    const int64_t coarse_ns = clock.CoarseNowNs();
    ASSERT_LE(coarse_ns, clock.NowNs());
    ASSERT_GE(coarse_ns, before_ns - Clock::kCoarseNsMax);
  }
}

TEST(Clock, ManualClockMovesOnlyWhenTold) {
  ManualClock clock(5);
  EXPECT_EQ(clock.NowNs(), 5);
  clock.Advance(10);
  EXPECT_EQ(clock.NowNs(), 15);
  EXPECT_EQ(clock.CoarseNowNs(), 15);
  clock.Set(7);
  EXPECT_EQ(clock.NowNs(), 7);
}

}  // namespace
}  // namespace mcp::internal
