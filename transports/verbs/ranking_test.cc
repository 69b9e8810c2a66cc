#include "transports/verbs/ranking.h"

#include <array>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mcp::internal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

PortFacts Port(const char* name) {
  PortFacts port;
  port.name = name;
  port.gid = GidKind::kRoutable;
  port.megabits_per_second = 100'000;
  port.numa_distance = 10;
  return port;
}

std::vector<std::string> Names(const std::vector<PortFacts>& ports, size_t used_max = 4) {
  std::vector<std::string> names;
  for (const RankedPort& ranked : RankPorts(ports, used_max)) names.push_back(ports[ranked.index].name);
  return names;
}

TEST(Ranking, WhatIsAlikeStaysInOrder) {
  EXPECT_THAT(Names({Port("a"), Port("b"), Port("c")}), ElementsAre("a", "b", "c"));
}

// Each criterion goes before all that come after it.
TEST(Ranking, GidThenSpeedThenDistance) {
  PortFacts far = Port("far");
  far.numa_distance = 21;
  PortFacts slow = Port("slow");
  slow.megabits_per_second = 25'000;
  PortFacts link_local = Port("link-local");
  link_local.gid = GidKind::kLinkLocalV2;
  link_local.megabits_per_second = 400'000;
  PortFacts v1 = Port("v1");
  v1.gid = GidKind::kRoutableV1;
  v1.megabits_per_second = 400'000;
  PortFacts down = Port("down");
  down.megabits_per_second = 400'000;
  down.why_not = "PORT_DOWN";
  EXPECT_THAT(Names({down, v1, link_local, slow, far, Port("best")}),
              ElementsAre("best", "far", "slow", "link-local", "v1", "down"));
}

TEST(Ranking, TheOrderOfAskingGoesBeforeAll) {
  PortFacts first = Port("asked first");
  first.megabits_per_second = 10'000;
  PortFacts second = Port("asked second");
  second.place = 1;
  EXPECT_THAT(Names({second, first}), ElementsAre("asked first", "asked second"));
}

TEST(Ranking, EachThatIsNotUsedHasItsReason) {
  std::vector<PortFacts> ports = {Port("a"), Port("b"), Port("slow"), Port("v1"), Port("far"), Port("down")};
  ports[2].megabits_per_second = 25'000;
  ports[3].gid = GidKind::kRoutableV1;
  ports[4].numa_distance = 21;
  ports[5].why_not = "PORT_DOWN";
  const std::vector<RankedPort> ranked = RankPorts(ports, 2);
  EXPECT_THAT(ranked[0].reason, IsEmpty());
  EXPECT_THAT(ranked[1].reason, IsEmpty());
  EXPECT_THAT(ranked[2].reason, HasSubstr("NUMA distance is 21"));
  EXPECT_THAT(ranked[3].reason, HasSubstr("25000 Mb/s"));
  EXPECT_THAT(ranked[4].reason, HasSubstr("of RoCE v1"));
  EXPECT_EQ(ranked[5].reason, "PORT_DOWN");
  ports[4] = Port("as good");
  EXPECT_THAT(RankPorts(ports, 2)[2].reason, HasSubstr("comes later"));
}

TEST(Ranking, KindsOfGids) {
  std::array<uint8_t, 16> gid{};
  EXPECT_EQ(KindOfGid(gid, GidVersion::kRoceV2), GidKind::kNone);
  gid[10] = gid[11] = 0xff;
  gid[12] = 10;
  EXPECT_EQ(KindOfGid(gid, GidVersion::kRoceV2), GidKind::kRoutable);
  EXPECT_EQ(KindOfGid(gid, GidVersion::kRoceV1), GidKind::kRoutableV1);
  gid = {0xfe, 0x80};
  EXPECT_EQ(KindOfGid(gid, GidVersion::kRoceV2), GidKind::kLinkLocalV2);
  EXPECT_EQ(KindOfGid(gid, GidVersion::kRoceV1), GidKind::kLinkLocalV1);
  EXPECT_EQ(KindOfGid(gid, GidVersion::kInfiniBand), GidKind::kRoutable);
}

}  // namespace
}  // namespace mcp::internal
