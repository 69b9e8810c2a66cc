#include "lib/context/ratio_histogram.h"

#include <gtest/gtest.h>

#include <cmath>

namespace mcp::internal {
namespace {

TEST(RatioHistogram, QuantileIsTheEndOfItsBucket) {
  RatioHistogram histogram;
  for (int i = 0; i < 98; ++i) histogram.Add(0.1f);
  histogram.Add(3.1f);
  histogram.Add(3.1f);
  EXPECT_EQ(histogram.Quantile(0.5f, 1, 0), 0.25f);
  EXPECT_EQ(histogram.Quantile(0.99f, 1, 0), 3.25f);
  EXPECT_EQ(histogram.Quantile(0.99f, 101, -7), -7) << "too few samples";
}

TEST(RatioHistogram, TakesWhatIsBeyondItsEnds) {
  RatioHistogram histogram;
  histogram.Add(-40);
  histogram.Add(40);
  EXPECT_EQ(histogram.total(), 2u);
  EXPECT_EQ(histogram.Quantile(0.4f, 1, 0), -1.75f);
  EXPECT_EQ(histogram.Quantile(0.9f, 1, 0), 6);
}

TEST(RatioHistogram, RarityIsTheShareThatWasAsFarOut) {
  RatioHistogram histogram;
  for (int i = 0; i < 1000; ++i) histogram.Add(i % 10 == 0 ? 2.1f : 0.1f);
  EXPECT_NEAR(histogram.Rarity(2.1f, true, 0), std::log2(10), 0.1);
  EXPECT_NEAR(histogram.Rarity(0.1f, true, 0), 0, 0.01);
  EXPECT_NEAR(histogram.Rarity(0.1f, false, 0), std::log2(1 / 0.9), 0.01);
  EXPECT_NEAR(histogram.Rarity(-1, false, 0), std::log2(1001), 0.01) << "never yet";
  EXPECT_NEAR(histogram.Rarity(2.1f, true, 90), std::log2(1001.0 / 11), 0.01);
  for (int i = 0; i < 100; ++i) histogram.Remove(2.1f);
  EXPECT_NEAR(histogram.Rarity(2.1f, true, 0), std::log2(901), 0.01);
  histogram.Remove(2.1f);
  EXPECT_EQ(histogram.total(), 900u) << "nothing is left to take back";
}

TEST(RatioHistogram, OldSamplesFade) {
  RatioHistogram histogram;
  const auto add = [&](float log2_ratio) {
    for (int i = 0; i < 20'000; ++i) {
      histogram.Add(log2_ratio);
      if (i % 64 == 0) histogram.Fade();
    }
  };
  add(0);
  EXPECT_LT(histogram.total(), RatioHistogram::kFull + 64);
  add(2);
  EXPECT_EQ(histogram.Quantile(0.5f, 1, 0), 2.25f);
}

}  // namespace
}  // namespace mcp::internal
