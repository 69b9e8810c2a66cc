#include "lib/context/linear_fit.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/noise.h"
#include "tests/support/seed.h"

namespace mcp::internal {
namespace {

constexpr double kMemory = 256;

void Add(LinearFit* fit, double bytes, double latency) {
  const double inverse = 1 / fit->At(bytes);
  fit->Add(bytes, latency * inverse, inverse, kMemory);
}

TEST(LinearFit, FindsBaseAndRateFromSizesOverFourOrdersOfMagnitude) {
  LinearFit fit;
  fit.Seed(5000, 0.5, 0.25);
  Random random(TestSeed(1));
  for (int i = 0; i < 2000; ++i) {
    const double bytes = static_cast<double>(uint64_t{256} << random.Below(16));
    Add(&fit, bytes, (12'000 + 0.08 * bytes) * LogNormal(&random, 0.1));
  }
  EXPECT_NEAR(fit.base_ns() / 12'000, 1, 0.03);
  EXPECT_NEAR(fit.ns_per_byte() / 0.08, 1, 0.03);
}

TEST(LinearFit, OneSizeForMillionsOfSamplesNeitherDriftsNorLosesItsReflexes) {
  LinearFit fit;
  fit.Seed(50'000, 0.05, 0.25);
  for (int i = 0; i < 2'000'000; ++i) Add(&fit, 1 << 20, 100'000);
  EXPECT_NEAR(fit.At(1 << 20), 100'000, 100);
  EXPECT_LT(fit.At(2 << 20), 200'001) << "no more than in proportion";
  for (int i = 0; i < 1000; ++i) Add(&fit, 1 << 20, 200'000);
  EXPECT_NEAR(fit.At(1 << 20), 200'000, 4'000);
}

// The weight of an average is easily put on its wrong side: then either one sample is everything, or none is anything.
TEST(LinearFit, AStepIsHalfLearnedInAboutSeventyPercentOfTheMemory) {
  LinearFit fit;
  fit.Seed(50'000, 0.05, 0.25);
  for (int i = 0; i < 5000; ++i) Add(&fit, 1 << 20, 100'000);
  int samples = 0;
  while (fit.At(1 << 20) < 110'000) {
    Add(&fit, 1 << 20, 120'000);
    ++samples;
  }
  EXPECT_GT(samples, kMemory * 0.6);
  EXPECT_LT(samples, kMemory * 0.8);
}

TEST(LinearFit, FirstSamplesOutweighTheSeed) {
  LinearFit fit;
  fit.Seed(20'000, 0.3, 0.25);
  for (int i = 0; i < 8; ++i) Add(&fit, 65536, 1'000'000);
  EXPECT_NEAR(fit.At(65536), 1'000'000, 50'000);
}

TEST(LinearFit, SamplesAtOnceTeachWhatTheyTeachOneByOne) {
  LinearFit one_by_one, at_once;
  one_by_one.Seed(5000, 0.5, 0.25);
  at_once.Seed(5000, 0.5, 0.25);
  Random random(TestSeed(3));
  const auto draw = [&](float* bytes, float* latencies) {
    for (uint32_t i = 0; i < kBatch; ++i) {
      bytes[i] = static_cast<float>(uint64_t{4096} << random.Below(10));
      latencies[i] = static_cast<float>((12'000 + 0.08 * bytes[i]) * LogNormal(&random, 0.1));
    }
  };
  float bytes[kBatch], latencies[kBatch], ratios[kBatch];
  for (int batch = 0; batch < 200; ++batch) {
    draw(bytes, latencies);
    // The first alone: a batch is for what is known already.
    for (uint32_t i = 0; i < kBatch; ++i) {
      Add(&one_by_one, bytes[i], latencies[i]);
      if (batch < 2) Add(&at_once, bytes[i], latencies[i]);
    }
    if (batch < 2) continue;
    const double predicted = at_once.At(bytes[3]);
    at_once.AddAll(bytes, latencies, kBatch - 1, kMemory, ratios);
    ASSERT_NEAR(ratios[3] * predicted / latencies[3], 1, 1e-5);
  }
  EXPECT_NEAR(at_once.At(4096) / one_by_one.At(4096), 1, 0.02);
  EXPECT_NEAR(at_once.At(2 << 20) / one_by_one.At(2 << 20), 1, 0.02);
  EXPECT_NEAR(at_once.samples() / one_by_one.samples(), 1, 0.05);
  EXPECT_NEAR(at_once.Leverage(1 << 20) / one_by_one.Leverage(1 << 20), 1, 0.1);
}

TEST(LinearFit, OneSizeAtOnceForMillionsOfSamplesNeitherDriftsNorLosesItsReflexes) {
  LinearFit fit;
  fit.Seed(50'000, 0.05, 0.25);
  float bytes[kBatch], latencies[kBatch], ratios[kBatch];
  std::fill_n(bytes, kBatch, 1 << 20);
  std::fill_n(latencies, kBatch, 100'000);
  for (int i = 0; i < 200'000; ++i) fit.AddAll(bytes, latencies, 0, kMemory, ratios);
  EXPECT_NEAR(fit.At(1 << 20), 100'000, 100);
  EXPECT_LT(fit.At(2 << 20), 201'000) << "no more than in proportion";
  std::fill_n(latencies, kBatch, 200'000);
  for (int i = 0; i < 70; ++i) fit.AddAll(bytes, latencies, 0, kMemory, ratios);
  EXPECT_NEAR(fit.At(1 << 20), 200'000, 4'000);
}

TEST(LinearFit, RescaleMultipliesAndForgets) {
  LinearFit fit;
  fit.Seed(5000, 0.1, 0.25);
  for (int i = 0; i < 500; ++i) Add(&fit, i % 2 == 0 ? 4096 : 1 << 20, i % 2 == 0 ? 10'000 : 100'000);
  fit.Rescale(4, 2);
  EXPECT_NEAR(fit.At(4096), 40'000, 400);
  EXPECT_NEAR(fit.At(1 << 20), 400'000, 4'000);
  EXPECT_EQ(fit.samples(), 2);
  for (int i = 0; i < 6; ++i) Add(&fit, 1 << 20, 200'000);
  EXPECT_NEAR(fit.At(1 << 20), 228'600, 5'000) << "one old sample of this size, six new";
}

TEST(LinearFit, NeitherBaseNorRateIsEverNegative) {
  LinearFit fit;
  fit.Seed(1000, 0.1, 0.25);
  Random random(TestSeed(2));
  for (int i = 0; i < 20'000; ++i) {
    const double bytes = static_cast<double>(1 + random.Below(1 << 20));
    Add(&fit, bytes, static_cast<double>(1 + random.Below(1'000'000)));
    ASSERT_GE(fit.base_ns(), 0);
    ASSERT_GE(fit.ns_per_byte(), 0);
    ASSERT_GT(fit.At(1), 0);
  }
}

}  // namespace
}  // namespace mcp::internal
