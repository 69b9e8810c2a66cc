#include "lib/context/comparison.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/noise.h"
#include "tests/support/seed.h"

namespace mcp::internal {
namespace {

float Radius(const Comparison& comparison) {
  return std::sqrt(comparison.ErrorsSquared() * comparison.variance() / comparison.samples());
}

TEST(Comparison, SaysNothingOfAFew) {
  Comparison comparison;
  for (int i = 0; i < 15; ++i) comparison.Add(1.0f);
  EXPECT_FALSE(comparison.tells());
  comparison.Add(1.0f);
  EXPECT_TRUE(comparison.tells());
}

TEST(Comparison, ItsErrorFallsForAsLongAsSamplesCome) {
  const uint64_t seed = TestSeed(3);
  SCOPED_TRACE(SeedNote(seed));
  Random random(seed);
  Comparison comparison;
  float before = 1e9f;
  for (int hundreds = 1; hundreds <= 256; hundreds *= 4) {
    while (comparison.samples() < 100.0f * static_cast<float>(hundreds)) {
      comparison.Add(static_cast<float>(0.97 * LogNormal(&random, 0.2)));
    }
    EXPECT_LT(Radius(comparison), 0.65f * before);
    before = Radius(comparison);
  }
  EXPECT_LT(before, 0.006f);
  EXPECT_NEAR(comparison.mean(), 0.97 * (1 + 0.5 * 0.2 * 0.2 * 0.48), 0.004);
}

// However often one looks: a bound of fixed samples would be left by one of twenty within the first thousand.
TEST(Comparison, TheBoundHoldsAtAllTimesTogether) {
  const uint64_t seed = TestSeed(4);
  SCOPED_TRACE(SeedNote(seed));
  Random random(seed);
  int left = 0;
  for (int trial = 0; trial < 500; ++trial) {
    Comparison comparison;
    bool out = false;
    for (int i = 0; i < 2000; ++i) {
      comparison.Add(static_cast<float>(0.8 + 0.4 * random.Unit()));
      out |= comparison.tells() && std::abs(comparison.mean() - 1.0f) > Radius(comparison);
    }
    left += out ? 1 : 0;
  }
  EXPECT_LE(left, 1);
}

TEST(Comparison, OldSamplesCountLessInTheEnd) {
  Comparison comparison;
  for (int i = 0; i < (1 << 15); ++i) comparison.Add(2.0f);
  for (int i = 0; i < 3 * (1 << 15); ++i) comparison.Add(1.0f);
  EXPECT_LT(comparison.mean(), 1.2f);
  EXPECT_LT(comparison.samples(), 1 << 15);
}

}  // namespace
}  // namespace mcp::internal
