#include "lib/memory/range_index.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <iterator>
#include <map>

#include "lib/base/random.h"

namespace mcp::internal {
namespace {

TEST(RangeIndex, FindsTheLastStartAtOrBefore) {
  RangeIndex index(3);
  EXPECT_EQ(index.Find(0), RangeIndex::kNone);
  {
    RangeIndex::Change change(&index);
    change.Insert(20, 2);
    change.Insert(10, 1);
    change.Insert(30, 3);
  }
  EXPECT_EQ(index.Find(9), RangeIndex::kNone);
  EXPECT_EQ(index.Find(10), 1u);
  EXPECT_EQ(index.Find(19), 1u);
  EXPECT_EQ(index.Find(20), 2u);
  EXPECT_EQ(index.Find(~uint64_t{0}), 3u);
}

TEST(RangeIndex, ChangesShow) {
  RangeIndex index(1);
  const uint64_t before = index.Sequence();
  EXPECT_EQ(before % 2, 0u);
  EXPECT_TRUE(index.Unchanged(before));
  {
    RangeIndex::Change change(&index);
    EXPECT_EQ(index.Sequence() % 2, 1u);
    EXPECT_FALSE(index.Unchanged(before));
  }
  EXPECT_EQ(index.Sequence() % 2, 0u);
  EXPECT_FALSE(index.Unchanged(before));
}

TEST(RangeIndex, AgreesWithAMap) {
  constexpr uint64_t kSeed = 8;
  SCOPED_TRACE(kSeed);
  Random random(kSeed);
  constexpr uint32_t kRanges = 600;  // four levels of the index
  RangeIndex index(kRanges);
  std::map<uint64_t, uint32_t> model;
  for (uint32_t i = 0; i < 20000; ++i) {
    const uint64_t start = random.Below(1300);
    {
      RangeIndex::Change change(&index);
      if (model.erase(start) == 1) {
        change.Remove(start);
      } else if (model.size() < kRanges) {
        change.Insert(start, i);
        model[start] = i;
      }
    }
    const uint64_t address = random.Below(1400);
    const auto above = model.upper_bound(address);
    ASSERT_EQ(index.Find(address), above == model.begin() ? RangeIndex::kNone : std::prev(above)->second);
    ASSERT_EQ(index.size(), model.size());
  }
}

}  // namespace
}  // namespace mcp::internal
