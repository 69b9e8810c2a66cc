#include "transports/verbs/losses.h"

#include <gtest/gtest.h>

namespace mcp::internal {
namespace {

// What a port counts, told to `losses` now and then.
class Port {
 public:
  void Send(Losses* losses, uint64_t packets, uint64_t between) {
    for (uint64_t i = 0; i < packets / kEvery; ++i) {
      counters_.packets_sent += kEvery;
      sent_ += kEvery;
      if (between == 0) sent_ = 0;
      for (; between != 0 && sent_ >= between; sent_ -= between) ++counters_.times_sent_again;
      losses->Take(counters_);
    }
  }
  PortCounters& counters() { return counters_; }

 private:
  static constexpr uint64_t kEvery = 500;
  PortCounters counters_{.times_sent_again = 1000, .packets_sent = 2000};  // before anybody looked
  uint64_t sent_ = 0;
};

TEST(Losses, AreAsFarApartAsTheyWereOfLate) {
  Losses losses;
  Port port;
  port.Send(&losses, 20'000, 0);
  EXPECT_EQ(losses.packets_between(), 0u) << "what was before nobody knows the time of";
  EXPECT_EQ(losses.times_sent_again(), 1000u);
  port.Send(&losses, 20'000, 100);
  EXPECT_GE(losses.packets_between(), 95u);
  EXPECT_LE(losses.packets_between(), 200u) << "with the time before";
  port.Send(&losses, 50'000, 1000);
  EXPECT_GE(losses.packets_between(), 500u);
  EXPECT_LE(losses.packets_between(), 1000u);
}

TEST(Losses, AFewMayBeChance) {
  Losses losses;
  Port port;
  port.Send(&losses, 1500, 500);
  EXPECT_EQ(losses.packets_between(), 0u);
  port.Send(&losses, 1500, 500);
  EXPECT_NE(losses.packets_between(), 0u);
}

TEST(Losses, EndWhenNoMoreCome) {
  Losses losses;
  Port port;
  port.Send(&losses, 20'000, 100);
  port.Send(&losses, 100'000, 0);
  EXPECT_GT(losses.packets_between(), 1000u);
  port.Send(&losses, 10'000'000, 0);
  EXPECT_EQ(losses.packets_between(), 0u);
}

TEST(Losses, WhatCouldNotBeReadIsNoNews) {
  Losses losses;
  Port port;
  port.Send(&losses, 20'000, 100);
  const uint64_t before = losses.packets_between();
  const PortCounters counted = port.counters();
  losses.Take({.times_sent_again = 0, .packets_sent = counted.packets_sent});
  losses.Take({.times_sent_again = counted.times_sent_again, .packets_sent = 0});
  losses.Take(counted);
  EXPECT_EQ(losses.packets_between(), before);
  EXPECT_EQ(losses.times_sent_again(), counted.times_sent_again);
}

TEST(Losses, AreUnknownWhereNobodyCounts) {
  Losses losses;
  for (int i = 0; i < 10; ++i) losses.Take({.times_sent_again = static_cast<uint64_t>(i) * 10});
  EXPECT_EQ(losses.packets_between(), 0u);
  EXPECT_EQ(losses.times_sent_again(), 90u);
}

}  // namespace
}  // namespace mcp::internal
