#include "lib/protocol/chunk_set.h"

#include <gtest/gtest.h>

#include <set>

#include "lib/base/random.h"
#include "tests/support/seed.h"

namespace mcp::internal {
namespace {

TEST(ChunkSet, AgreesWithAStandardSet) {
  const uint64_t seed = TestSeed(1);
  SCOPED_TRACE(SeedNote(seed));
  Random random(seed);
  for (uint32_t size : {1u, 63u, 64u, 65u, 200u}) {
    ChunkSet set(size, false);
    std::set<uint32_t> model;
    for (int step = 0; step < 2000; ++step) {
      const auto chunk = static_cast<uint32_t>(random.Below(size));
      if (random.Below(2) == 0) {
        ASSERT_EQ(set.Add(chunk), model.insert(chunk).second);
      } else {
        ASSERT_EQ(set.Remove(chunk), model.erase(chunk) == 1);
      }
      ASSERT_EQ(set.count(), model.size());
      const auto from = static_cast<uint32_t>(random.Below(size));
      const auto next = model.lower_bound(from);
      ASSERT_EQ(set.Next(from), next == model.end() ? size : *next);
      uint32_t missing = from;
      while (missing < size && model.count(missing) == 1) ++missing;
      ASSERT_EQ(set.NextMissing(from), missing);
      const uint64_t window = set.Window(from);
      for (uint32_t i = 0; i < 64; ++i) {
        ASSERT_EQ((window >> i & 1) != 0, from + i < size && model.count(from + i) == 1);
      }
    }
  }
}

TEST(ChunkSet, MayBeginFull) {
  const ChunkSet set(70, true);
  EXPECT_TRUE(set.full());
  EXPECT_EQ(set.Next(69), 69u);
  EXPECT_EQ(set.NextMissing(0), 70u);
}

}  // namespace
}  // namespace mcp::internal
