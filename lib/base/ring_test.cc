#include "lib/base/ring.h"

#include <gtest/gtest.h>

#include <memory>

namespace mcp::internal {
namespace {

TEST(Ring, IsFirstInFirstOutAcrossTheWrap) {
  Ring<std::unique_ptr<int>> ring(3);  // not a power of two: the bound is still exact
  EXPECT_EQ(ring.capacity(), 3u);
  int pushed = 0;
  int popped = 0;
  for (int lap = 0; lap < 10; ++lap) {
    while (!ring.full()) ring.PushBack(std::make_unique<int>(pushed++));
    EXPECT_EQ(ring.size(), 3u);
    for (uint32_t i = 0; i < ring.size(); ++i) EXPECT_EQ(*ring.At(i), popped + static_cast<int>(i));
    EXPECT_EQ(*ring.Back(), pushed - 1);
    for (int i = 0; i < 2; ++i) {
      EXPECT_EQ(*ring.Front(), popped++);
      ring.PopFront();
    }
  }
  EXPECT_EQ(ring.size(), 1u);
}

TEST(Ring, DestroysItemsWhenTheyLeave) {
  auto item = std::make_shared<int>(1);
  {
    Ring<std::shared_ptr<int>> ring(2);
    ring.PushBack(item);
    ring.EmplaceBack(item);
    EXPECT_EQ(item.use_count(), 3);
    ring.PopFront();
    EXPECT_EQ(item.use_count(), 2);
    ring.Clear();
    EXPECT_TRUE(ring.empty());
    EXPECT_EQ(item.use_count(), 1);
    ring.PushBack(item);
  }
  EXPECT_EQ(item.use_count(), 1);
}

}  // namespace
}  // namespace mcp::internal
