#include "lib/context/change_rate.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace mcp::internal {
namespace {

void Pass(ChangeRate* rate, uint32_t transfers) {
  for (uint32_t i = 0; i < transfers / 32; ++i) rate->Pass(32);
}

// What was measured wanders by that while so many pass.
float WanderWhile(ChangeRate* rate, uint32_t transfers) {
  const double unseen = rate->unseen();
  Pass(rate, transfers);
  return rate->Wandered(static_cast<float>(transfers), unseen);
}

TEST(ChangeRate, WhereNothingHappensUncertaintyGrowsAsTheLogarithmOfTime) {
  ChangeRate rate;
  Pass(&rate, 1024);
  const float first = WanderWhile(&rate, 4 * 1024);
  const float second = WanderWhile(&rate, 20 * 1024);
  EXPECT_NEAR(second / first, 1, 0.25);
}

// What lasted long was not for ever, and what has just come may go.
TEST(ChangeRate, AfterAChangeTimeBeginsAnew) {
  ChangeRate rate;
  Pass(&rate, 102'400);
  const double before = rate.unseen();
  Pass(&rate, 1024);
  const double late = rate.unseen() - before;
  rate.Count(1);
  const double changed = rate.unseen();
  Pass(&rate, 1024);
  EXPECT_GT(rate.unseen() - changed, 20 * late);
}

TEST(ChangeRate, NothingIsTrustedToStayForEver) {
  ChangeRate rate;
  Pass(&rate, 1'024'000);
  const float late = WanderWhile(&rate, 102'400);
  EXPECT_NEAR(WanderWhile(&rate, 102'400) / late, 1, 1e-3);
  EXPECT_GT(late, 0.05f);
}

TEST(ChangeRate, IsWhatWasSeen) {
  ChangeRate rate;
  const auto seen = [&](uint32_t every) {
    for (uint32_t passed = 0; passed < 128 * 1024; passed += every) {
      rate.Count(1);
      Pass(&rate, every);
    }
    return rate.Wandered(1000, rate.unseen());
  };
  const float seldom = seen(1024);
  EXPECT_NEAR(seen(128) / seldom, 8, 0.5);
}

TEST(ChangeRate, OneChangeIsRememberedAndForgotten) {
  ChangeRate rate;
  Pass(&rate, 102'400);
  const float calm = WanderWhile(&rate, 1024);
  rate.Count(1);
  const float after = WanderWhile(&rate, 1024);
  EXPECT_GT(after, 10 * calm);
  Pass(&rate, 10'240);
  EXPECT_GT(WanderWhile(&rate, 1024), 5 * calm);
  Pass(&rate, 307'200);
  EXPECT_LT(WanderWhile(&rate, 1024), 2 * calm);
}

// What was measured before the change was seen is of before it.
TEST(ChangeRate, WhatIsSeenCountsForAllTheTimeSinceTheMeasurement) {
  ChangeRate rate;
  Pass(&rate, 10'240);
  const double unseen = rate.unseen();
  Pass(&rate, 1024);
  const float before = rate.Wandered(1024, unseen);
  rate.Count(1);
  EXPECT_GT(rate.Wandered(1024, unseen), before + 0.1f);
}

TEST(ChangeRate, WhatWasNoticedLessCountsLess) {
  ChangeRate one;
  ChangeRate half;
  Pass(&one, 5120);
  Pass(&half, 5120);
  one.Count(1);
  half.Count(0.5f);
  EXPECT_FLOAT_EQ(one.Wandered(1000, one.unseen()), 2 * half.Wandered(1000, half.unseen()));
}

}  // namespace
}  // namespace mcp::internal
