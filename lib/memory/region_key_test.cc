#include "lib/memory/region_key.h"

#include <gtest/gtest.h>

#include <unordered_set>

namespace mcp::internal {
namespace {

TEST(RegionKey, TellsItsSlotAndUse) {
  const RegionKeyCipher cipher{Random(1)};
  Random random(2);
  for (int i = 0; i < 10000; ++i) {
    const auto slot = static_cast<uint32_t>(random.Below(kRegionSlotsMax));
    const uint64_t use = random.Below(kRegionUseMax);
    const uint64_t key = cipher.Key(slot, use);
    ASSERT_EQ(RegionKeySlot(key), slot);
    ASSERT_EQ(cipher.Use(key), use);
  }
  EXPECT_EQ(cipher.Use(cipher.Key(kRegionSlotsMax - 1, kRegionUseMax)), kRegionUseMax);
}

TEST(RegionKey, TablesDoNotShareKeys) {
  EXPECT_NE(RegionKeyCipher(Random(1)).Key(0, 1), RegionKeyCipher(Random(2)).Key(0, 1));
}

// Consecutive uses look unrelated: each bit above the slot flips about half the time.
TEST(RegionKey, UsesAreSpread) {
  constexpr int kKeys = 10000;
  const RegionKeyCipher cipher{Random(3)};
  int flips[64] = {};
  std::unordered_set<uint64_t> seen;
  for (uint64_t use = 1; use <= kKeys; ++use) {
    const uint64_t changed = cipher.Key(5, use) ^ cipher.Key(5, use + 1);
    for (int bit = 0; bit < 64; ++bit) flips[bit] += static_cast<int>((changed >> bit) & 1);
    ASSERT_TRUE(seen.insert(cipher.Key(5, use)).second);
  }
  for (int bit = kRegionSlotBits; bit < 64; ++bit) EXPECT_NEAR(flips[bit], kKeys / 2, kKeys / 20) << bit;
}

}  // namespace
}  // namespace mcp::internal
