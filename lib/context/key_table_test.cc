#include "lib/context/key_table.h"

#include <gtest/gtest.h>

namespace mcp::internal {
namespace {

TEST(KeyTable, IsBoundedAndEvictsWhatWasNotUsedLately) {
  KeyTable table(4);
  Key* places[4];
  for (uint32_t peer = 0; peer < 4; ++peer) {
    places[peer] = table.FindPlace();
    EXPECT_FALSE(places[peer]->in_use);
    table.Insert(places[peer], peer, 0, 0);
  }
  EXPECT_EQ(table.count(), 4u);
  EXPECT_EQ(table.FindPlace(), places[0]) << "all were used: the marks go, and with them the oldest";
  table.Insert(places[0], 4, 0, 0);
  places[1]->used_lately = true;
  EXPECT_EQ(table.FindPlace(), places[2]) << "key 1 was used since the hand came by";
  table.Insert(places[2], 5, 0, 0);
  EXPECT_EQ(places[2]->peer, 5u);
  EXPECT_EQ(table.count(), 4u);
  EXPECT_EQ(table.evictions(), 2u);
}

TEST(KeyTable, ARemovedPlaceIsFree) {
  KeyTable table(2);
  Key* const first = table.FindPlace();
  table.Insert(first, 0, 1, 2);
  table.Insert(table.FindPlace(), 1, 1, 2);
  table.Remove(first);
  EXPECT_EQ(table.count(), 1u);
  ASSERT_EQ(table.FindPlace(), first);
  EXPECT_FALSE(first->in_use);
  table.Insert(first, 2, 3, 4);
  EXPECT_EQ(first->alternative, 3);
  EXPECT_EQ(first->size_class, 4);
  EXPECT_EQ(table.evictions(), 0u);
}

}  // namespace
}  // namespace mcp::internal
