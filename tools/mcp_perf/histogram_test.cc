#include "tools/mcp_perf/histogram.h"

#include "gtest/gtest.h"

namespace mcp::perf {
namespace {

TEST(Histogram, IsExactForSmallValues) {
  Histogram histogram;
  for (int ns = 1; ns <= 100; ++ns) histogram.Record(ns);
  EXPECT_EQ(histogram.PercentileNs(0.5), 50);
  EXPECT_EQ(histogram.PercentileNs(0.99), 99);
  EXPECT_EQ(histogram.min_ns(), 1);
  EXPECT_EQ(histogram.max_ns(), 100);
  EXPECT_DOUBLE_EQ(histogram.mean_ns(), 50.5);
}

TEST(Histogram, PercentilesAreWithinHalfAPercent) {
  Histogram histogram;
  constexpr int kCount = 100000;
  for (int i = 1; i <= kCount; ++i) histogram.Record(int64_t{i} * 1234);
  for (const double fraction : {0.1, 0.5, 0.9, 0.99, 0.999}) {
    const double exact = fraction * kCount * 1234;
    EXPECT_NEAR(histogram.PercentileNs(fraction), exact, exact * 0.005) << fraction;
  }
}

TEST(Histogram, ClampsWhatIsOutOfItsRange) {
  Histogram histogram;
  histogram.Record(-5);
  histogram.Record(std::numeric_limits<int64_t>::max());
  EXPECT_EQ(histogram.count(), 2u);
  EXPECT_EQ(histogram.min_ns(), 0);
  EXPECT_GT(histogram.max_ns(), 2e12);
}

TEST(Histogram, MergesAsIfRecordedTogether) {
  Histogram one, other, both;
  for (int64_t ns = 100; ns < 100000; ns += 7) {
    (ns % 2 == 0 ? one : other).Record(ns);
    both.Record(ns);
  }
  one.Merge(other);
  EXPECT_EQ(one.count(), both.count());
  EXPECT_EQ(one.PercentileNs(0.9), both.PercentileNs(0.9));
  EXPECT_EQ(one.max_ns(), both.max_ns());
}

TEST(Histogram, EmptyIsZero) {
  const Histogram histogram;
  EXPECT_EQ(histogram.PercentileNs(0.5), 0);
  EXPECT_EQ(histogram.min_ns(), 0);
  EXPECT_EQ(histogram.mean_ns(), 0);
}

}  // namespace
}  // namespace mcp::perf
