#include "lib/session/loss_tally.h"

#include <gtest/gtest.h>

namespace mcp::internal {
namespace {

TEST(LossTally, WhatADeviceCountsIsChargedOnceHoweverManyRailsGoByIt) {
  LossTally tally;
  // Both are told of the same five, the second one later.
  tally.Add(0, {.counter = 7, .counted = 105, .before = 100});
  tally.Add(1, {.counter = 7, .counted = 100, .before = 100});
  EXPECT_EQ(tally.Charge(1), 5u);
  tally.Add(0, {.counter = 7, .counted = 105, .before = 100});
  tally.Add(1, {.counter = 7, .counted = 105, .before = 100});
  EXPECT_EQ(tally.Charge(1), 0u);
}

TEST(LossTally, DevicesAndRailsCountForThemselves) {
  LossTally tally;
  tally.Add(0, {.own = 1, .counter = 7, .counted = 12, .before = 10});
  tally.Add(1, {.own = 2, .counter = 8, .counted = 13, .before = 10});
  tally.Add(2, {.own = 4});
  EXPECT_EQ(tally.Charge(1), 12u);
}

TEST(LossTally, IsSharedByThoseUnderWay) {
  LossTally tally;
  tally.Add(0, {.own = 7});
  EXPECT_EQ(tally.Charge(3), 3u);
  EXPECT_EQ(tally.Charge(2), 2u);
  EXPECT_EQ(tally.Charge(1), 2u);
  EXPECT_EQ(tally.Charge(1), 0u);
}

TEST(LossTally, ABurstIsNewsOnce) {
  LossTally tally;
  tally.Add(0, {.own = 1'000'000});
  EXPECT_EQ(tally.Charge(1), LossTally::kWaitingMax);
}

// A rail that was connected again goes by another device, whose count is lower.
TEST(LossTally, ARailThatChangesItsDeviceBeginsWithWhatThatShows) {
  LossTally tally;
  tally.Add(0, {.counter = 7, .counted = 500, .before = 500});
  tally.Add(0, {.counter = 8, .counted = 41, .before = 40});
  EXPECT_EQ(tally.Charge(1), 1u);
}

}  // namespace
}  // namespace mcp::internal
