#include "lib/context/key_table.h"

#include <gtest/gtest.h>

namespace mcp::internal {
namespace {

TEST(KeyTable, IsBoundedAndEvictsWhatWasNotUsedLately) {
  KeyTable table(4);
  Key evicted;
  for (uint32_t peer = 0; peer < 4; ++peer) {
    table.Insert(peer, 0, 0, &evicted);
    EXPECT_FALSE(evicted.in_use);
  }
  EXPECT_EQ(table.count(), 4u);
  table.Insert(4, 0, 0, &evicted);  // all were used: the marks go, and with them the oldest
  EXPECT_EQ(evicted.peer, 0u);
  table.At(1).used_lately = true;
  table.Insert(5, 0, 0, &evicted);
  EXPECT_EQ(evicted.peer, 2u) << "key 1 was used since the hand came by";
  EXPECT_EQ(table.count(), 4u);
  EXPECT_EQ(table.evictions(), 2u);
}

TEST(KeyTable, ARemovedPlaceIsFree) {
  KeyTable table(2);
  Key evicted;
  const uint32_t first = table.Insert(0, 1, 2, &evicted);
  table.Insert(1, 1, 2, &evicted);
  table.Remove(first);
  EXPECT_EQ(table.count(), 1u);
  EXPECT_EQ(table.Insert(2, 3, 4, &evicted), first);
  EXPECT_FALSE(evicted.in_use);
  EXPECT_EQ(table.At(first).alternative, 3);
  EXPECT_EQ(table.At(first).size_class, 4);
}

}  // namespace
}  // namespace mcp::internal
