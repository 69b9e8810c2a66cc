#include "lib/base/mpsc_queue.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

namespace mcp::internal {
namespace {

TEST(MpscQueue, IsFirstInFirstOutAndBounded) {
  MpscQueue<std::unique_ptr<int>> queue(4);
  EXPECT_EQ(queue.capacity(), 4u);
  std::unique_ptr<int> item;
  for (int lap = 0; lap < 10; ++lap) {
    EXPECT_TRUE(queue.EmptyApprox());
    EXPECT_FALSE(queue.TryPop(&item));
    for (int i = 0; i < 4; ++i) ASSERT_TRUE(queue.TryPush(std::make_unique<int>(lap * 4 + i)));
    auto refused = std::make_unique<int>(-1);
    EXPECT_FALSE(queue.TryPush(std::move(refused)));
    EXPECT_NE(refused, nullptr) << "a refused item is untouched";
    EXPECT_FALSE(queue.EmptyApprox());
    for (int i = 0; i < 4; ++i) {
      ASSERT_TRUE(queue.TryPop(&item));
      EXPECT_EQ(*item, lap * 4 + i);
    }
  }
}

TEST(MpscQueue, DestroysWhatIsLeft) {
  auto item = std::make_shared<int>(1);
  {
    MpscQueue<std::shared_ptr<int>> queue(2);
    ASSERT_TRUE(queue.TryPush(std::shared_ptr<int>(item)));
    EXPECT_EQ(item.use_count(), 2);
  }
  EXPECT_EQ(item.use_count(), 1);
}

TEST(MpscQueue, PoppedCellsHoldNothing) {
  auto item = std::make_shared<int>(1);
  MpscQueue<std::shared_ptr<int>> queue(2);
  ASSERT_TRUE(queue.TryPush(std::shared_ptr<int>(item)));
  std::shared_ptr<int> popped;
  ASSERT_TRUE(queue.TryPop(&popped));
  popped.reset();
  EXPECT_EQ(item.use_count(), 1);
}

// Each producer's items arrive whole, once and in order.
TEST(MpscQueue, ManyProducers) {
  constexpr uint32_t kProducers = 4;
  constexpr uint64_t kItems = 20000;
  struct Item {
    uint32_t producer;
    std::unique_ptr<uint64_t> number;
  };
  MpscQueue<Item> queue(64);
  std::vector<std::thread> producers;
  for (uint32_t producer = 0; producer < kProducers; ++producer) {
    producers.emplace_back([&queue, producer] {
      for (uint64_t i = 0; i < kItems; ++i) {
        Item item{producer, std::make_unique<uint64_t>(i)};
        while (!queue.TryPush(std::move(item))) std::this_thread::yield();
      }
    });
  }
  uint64_t next[kProducers] = {};
  Item item;
  for (uint64_t popped = 0; popped < kProducers * kItems;) {
    if (!queue.TryPop(&item)) {
      std::this_thread::yield();
      continue;
    }
    ASSERT_LT(item.producer, kProducers);
    ASSERT_EQ(*item.number, next[item.producer]++);
    ++popped;
  }
  for (std::thread& producer : producers) producer.join();
  EXPECT_TRUE(queue.EmptyApprox());
  EXPECT_FALSE(queue.TryPop(&item));
}

}  // namespace
}  // namespace mcp::internal
