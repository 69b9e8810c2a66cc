#include "lib/session/near_rails.h"

#include <vector>

#include "gtest/gtest.h"

namespace mcp::internal {
namespace {

constexpr RailMask kNone = 0;

// From node 0, node 1 and so on.
NodeDistances From(std::initializer_list<uint8_t> nodes) {
  NodeDistances distances{};
  int node = 0;
  for (const uint8_t distance : nodes) distances[MemoryNodeOf(node++)] = distance;
  return distances;
}

NearRails Nearest(const std::vector<NodeDistances>& rails, RailMask up) { return NearestRails(rails, up); }

TEST(NearestRails, EachNodeHasItsOwn) {
  const std::vector<NodeDistances> rails = {From({10, 21}), From({21, 10}), From({10, 21}), From({21, 10})};
  const NearRails near = Nearest(rails, 0b1111);
  EXPECT_EQ(near[MemoryNodeOf(0)], 0b0101u);
  EXPECT_EQ(near[MemoryNodeOf(1)], 0b1010u);
  EXPECT_EQ(near[kNoNode], kNone);
}

TEST(NearestRails, AreNoneWhereAllAreAsNear) {
  const NearRails one_node = Nearest({From({10}), From({10})}, 0b11);
  const NearRails one_device = Nearest({From({10, 21}), From({10, 21})}, 0b11);
  const NearRails nothing_known = Nearest({From({}), From({})}, 0b11);
  const NearRails no_rails = Nearest({}, 0);
  for (size_t node = 0; node < kMemoryNodes; ++node) {
    for (const NearRails& near : {one_node, one_device, nothing_known, no_rails}) EXPECT_EQ(near[node], kNone) << node;
  }
}

// Of three sockets in a row: the next best when the best is away.
TEST(NearestRails, AreOfThoseThatAreUp) {
  const std::vector<NodeDistances> rails = {From({10, 21, 31}), From({21, 10, 21}), From({31, 21, 10})};
  EXPECT_EQ(Nearest(rails, 0b111)[MemoryNodeOf(2)], 0b100u);
  EXPECT_EQ(Nearest(rails, 0b011)[MemoryNodeOf(2)], 0b010u);
  EXPECT_EQ(Nearest(rails, 0b001)[MemoryNodeOf(2)], kNone);
  EXPECT_EQ(Nearest(rails, 0b101)[MemoryNodeOf(1)], kNone) << "both are next to it";
  EXPECT_EQ(Nearest(rails, 0)[MemoryNodeOf(1)], kNone);
}

// Nothing says that a device whose node is not known is far.
TEST(NearestRails, UnknownCountsAsNear) {
  const std::vector<NodeDistances> rails = {From({10, 21}), From({})};
  EXPECT_EQ(Nearest(rails, 0b11)[MemoryNodeOf(0)], kNone);
  EXPECT_EQ(Nearest(rails, 0b11)[MemoryNodeOf(1)], 0b10u);
  EXPECT_EQ(Nearest(rails, 0b11)[MemoryNodeOf(7)], kNone) << "a node that firmware says nothing of";
}

}  // namespace
}  // namespace mcp::internal
