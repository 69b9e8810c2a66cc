#include "lib/base/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

namespace mcp::internal {
namespace {

TEST(Random, SameSeedSameNumbers) {
  Random one(42);
  Random other(42);
  for (int i = 0; i < 100; ++i) ASSERT_EQ(one.Next(), other.Next());
}

// The first outputs of xoshiro256** whose state splitmix64 filled from 0, computed apart from this code.
TEST(Random, KnownSequence) {
  Random random(0);
  EXPECT_EQ(random.Next(), 0x99ec5f36cb75f2b4u);
  EXPECT_EQ(random.Next(), 0xbf6e1f784956452au);
  EXPECT_EQ(random.Next(), 0x1a5f849d4933e6e0u);
}

TEST(Random, CopyContinuesAndForkDiverges) {
  Random original(7);
  Random copy = original;
  EXPECT_EQ(copy.Next(), original.Next());
  Random fork = original.Fork();
  EXPECT_NE(fork.Next(), original.Next());
}

TEST(Random, BelowStaysBelowAndReachesAll) {
  Random random(1);
  std::array<int, 7> counts{};
  for (int i = 0; i < 7000; ++i) ++counts[random.Below(7)];
  for (int count : counts) {
    EXPECT_GT(count, 800);
    EXPECT_LT(count, 1200);
  }
  EXPECT_EQ(random.Below(1), 0u);
  const uint64_t bound = (uint64_t{1} << 63) + 1;  // about half of all draws are rejected
  for (int i = 0; i < 1000; ++i) ASSERT_LT(random.Below(bound), bound);
}

TEST(Random, UnitIsInTheUnitInterval) {
  Random random(2);
  double sum = 0;
  for (int i = 0; i < 10000; ++i) {
    const double value = random.Unit();
    ASSERT_GE(value, 0.0);
    ASSERT_LT(value, 1.0);
    sum += value;
  }
  EXPECT_NEAR(sum / 10000, 0.5, 0.02);
}

TEST(Random, EntropyDiffers) { EXPECT_NE(Random::FromEntropy().Next(), Random::FromEntropy().Next()); }

}  // namespace
}  // namespace mcp::internal
