#include "transports/verbs/link_speed.h"

#include "gtest/gtest.h"

namespace mcp::internal {
namespace {

TEST(LinkSpeed, IsThatOfItsLanes) {
  EXPECT_EQ(LinkMegabits(1, 1, ""), 2'500);
  EXPECT_EQ(LinkMegabits(16, 2, ""), 56'000);
  EXPECT_EQ(LinkMegabits(32, 2, ""), 100'000);
  EXPECT_EQ(LinkMegabits(64, 16, ""), 100'000);
  EXPECT_EQ(LinkMegabits(128, 4, ""), 800'000);
  EXPECT_EQ(LinkMegabits(256, 2, ""), 800'000);
  EXPECT_EQ(LinkMegabits(128, 8, ""), 1'200'000);
}

TEST(LinkSpeed, IsTheKernelsWhereTheCodeIsNotTheWholeTruth) {
  EXPECT_EQ(LinkMegabits(128, 2, "800 Gb/sec (4X XDR)"), 800'000);  // cut down to NDR
  EXPECT_EQ(LinkMegabits(0, 2, "800 Gb/sec (4X XDR)"), 800'000);
  EXPECT_EQ(LinkMegabits(0, 0, "2.5 Gb/sec (1X SDR)"), 2'500);
  EXPECT_EQ(LinkMegabits(256, 2, "10 Gb/sec (4X SDR)"), 800'000);  // a speed that the kernel does not know
}

TEST(LinkSpeed, IsNotKnownWhereNobodySays) {
  EXPECT_EQ(LinkMegabits(0, 0, ""), 0);
  EXPECT_EQ(LinkMegabits(512, 2, ""), 0);
  EXPECT_EQ(LinkMegabits(128, 3, ""), 0);
  for (const char* rate : {"Gb/sec", " Gb/sec", "-1 Gb/sec", "nan Gb/sec", "inf Gb/sec", "100", "100 Mb/sec", "?"}) {
    EXPECT_EQ(LinkMegabits(0, 0, rate), 0) << rate;
  }
}

struct OldAttributes {
  uint8_t active_speed;
};
struct NewAttributes {
  uint8_t active_speed;
  uint32_t active_speed_ex;
};

TEST(LinkSpeed, CodeIsTheWiderOnesWhereItIsFilledIn) {
  EXPECT_EQ(SpeedCode(OldAttributes{128}), 128u);
  EXPECT_EQ(SpeedCode(NewAttributes{128, 0}), 128u);
  EXPECT_EQ(SpeedCode(NewAttributes{128, 256}), 256u);
}

}  // namespace
}  // namespace mcp::internal
