#include "lib/metrics/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <thread>
#include <vector>

#include "lib/base/random.h"

namespace mcp::internal {
namespace {

TEST(Histogram, EmptyIsZero) {
  const Histogram histogram;
  EXPECT_EQ(histogram.Count(), 0u);
  EXPECT_EQ(histogram.Min(), 0u);
  EXPECT_EQ(histogram.Max(), 0u);
  EXPECT_EQ(histogram.Mean(), 0.0);
  EXPECT_EQ(histogram.Percentile(50), 0u);
}

TEST(Histogram, BucketsTileTheNumbers) {
  EXPECT_EQ(Histogram::BucketOf(0), 0u);
  EXPECT_EQ(Histogram::BucketOf(~uint64_t{0}), Histogram::kBuckets - 1);
  for (size_t i = 0; i + 1 < Histogram::kBuckets; ++i) {
    const uint64_t start = Histogram::BucketStart(i);
    const uint64_t next = Histogram::BucketStart(i + 1);
    ASSERT_LT(start, next);
    ASSERT_EQ(Histogram::BucketOf(start), i);
    ASSERT_EQ(Histogram::BucketOf(next - 1), i);
    ASSERT_LE(static_cast<double>(next - start), std::max(1.0, static_cast<double>(start) / 64));
  }
}

TEST(Histogram, PercentilesWithinOnePercent) {
  constexpr uint64_t kSeed = 11;
  SCOPED_TRACE(kSeed);
  Random random(kSeed);
  Histogram histogram;
  std::vector<uint64_t> values;
  uint64_t sum = 0;
  for (int i = 0; i < 20000; ++i) {
    values.push_back(random.Next() >> (20 + random.Below(44)));
    sum += values.back();
    histogram.Record(values.back());
  }
  std::sort(values.begin(), values.end());
  EXPECT_EQ(histogram.Count(), values.size());
  EXPECT_EQ(histogram.Sum(), sum);
  EXPECT_EQ(histogram.Min(), values.front());
  EXPECT_EQ(histogram.Max(), values.back());
  EXPECT_EQ(histogram.Percentile(0), values.front());
  EXPECT_EQ(histogram.Percentile(100), values.back());
  for (double percent : {0.1, 1.0, 25.0, 50.0, 75.0, 90.0, 99.0, 99.9, 99.99}) {
    const auto rank = static_cast<size_t>(std::ceil(static_cast<double>(values.size()) * percent / 100));
    const auto exact = static_cast<double>(values[rank - 1]);
    EXPECT_NEAR(static_cast<double>(histogram.Percentile(percent)), exact, exact * 0.01) << percent;
  }
}

TEST(Histogram, OneValueIsEveryPercentile) {
  for (uint64_t value : {uint64_t{0}, uint64_t{1}, uint64_t{127}, uint64_t{128}, uint64_t{1000003}, ~uint64_t{0}}) {
    Histogram histogram;
    histogram.Record(value);
    for (double percent : {0.0, 1.0, 50.0, 100.0}) EXPECT_EQ(histogram.Percentile(percent), value);
  }
}

TEST(Histogram, CountsBelowPowersOfTwo) {
  Histogram histogram;
  for (uint64_t value = 0; value < 5000; ++value) histogram.Record(value);
  EXPECT_EQ(histogram.CountBelowPowerOfTwo(0), 1u);
  EXPECT_EQ(histogram.CountBelowPowerOfTwo(10), 1024u);
  EXPECT_EQ(histogram.CountBelowPowerOfTwo(12), 4096u);
  EXPECT_EQ(histogram.CountBelowPowerOfTwo(63), 5000u);
}

TEST(Histogram, MergeIsRecordingBoth) {
  Histogram one;
  Histogram other;
  Histogram both;
  Random random(5);
  for (int i = 0; i < 1000; ++i) {
    const uint64_t value = random.Below(1000000);
    (i % 3 == 0 ? one : other).Record(value);
    both.Record(value);
  }
  one.Merge(other);
  one.Merge(Histogram());
  EXPECT_EQ(one.Count(), both.Count());
  EXPECT_EQ(one.Sum(), both.Sum());
  EXPECT_EQ(one.Min(), both.Min());
  EXPECT_EQ(one.Max(), both.Max());
  for (double percent : {1.0, 50.0, 99.0}) EXPECT_EQ(one.Percentile(percent), both.Percentile(percent));
}

TEST(Histogram, ShardsAddUp) {
  ShardedHistogram histogram(3);
  std::vector<std::thread> threads;
  for (uint32_t shard : {0u, 0u, 1u, 2u}) {
    threads.emplace_back([&histogram, shard] {
      for (uint64_t i = 1; i <= 5000; ++i) histogram.Record(shard, i);
    });
  }
  EXPECT_LE(histogram.Merged().Count(), 20000u);  // reading while others record
  for (std::thread& thread : threads) thread.join();
  const Histogram merged = histogram.Merged();
  EXPECT_EQ(merged.Count(), 20000u);
  EXPECT_EQ(merged.Sum(), 4u * 5000 * 5001 / 2);
  EXPECT_EQ(merged.Min(), 1u);
  EXPECT_EQ(merged.Max(), 5000u);
}

}  // namespace
}  // namespace mcp::internal
