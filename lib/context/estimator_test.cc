#include "lib/context/estimator.h"

#include <gtest/gtest.h>

#include <cmath>

#include "lib/context/key_table.h"
#include "tests/support/noise.h"
#include "tests/support/seed.h"

namespace mcp::internal {
namespace {

static_assert(sizeof(Estimator) + sizeof(Key) <= 512);

constexpr uint64_t kBytes = 1 << 20;

class EstimatorTest : public ::testing::Test {
 protected:
  Change Add(double latency_ns, uint32_t retransmits = 0) {
    return estimator_.Add(kBytes, static_cast<int64_t>(latency_ns), retransmits, false, &key_);
  }
  void Settle(double latency_ns, int samples = 300) {
    for (int i = 0; i < samples; ++i) Add(latency_ns * LogNormal(&random_, 0.15));
  }
  double Cost() const { return estimator_.CostNs(kBytes, &key_, {}); }

  const uint64_t seed_ = TestSeed(5);
  Random random_{seed_};
  Estimator estimator_;
  KeyState key_;
};

TEST_F(EstimatorTest, LearnsTheMean) {
  SCOPED_TRACE(SeedNote(seed_));
  Settle(200'000, 2000);
  EXPECT_NEAR(Cost() / 200'000, 1, 0.03);
  EXPECT_LT(std::sqrt(estimator_.Log2ErrorSquared(kBytes, &key_, {})), 0.05f);
}

TEST_F(EstimatorTest, AFourfoldShiftIsKnownInSixSamples) {
  SCOPED_TRACE(SeedNote(seed_));
  Settle(200'000);
  int samples = 1;
  while (Add(800'000 * LogNormal(&random_, 0.15)) == Change::kNone) ASSERT_LT(++samples, 7);
  EXPECT_NEAR(Cost() / 800'000, 1, 0.2);
  EXPECT_LT(estimator_.samples(), 5) << "old samples count no more";
}

// The first transfers after it are so much slower than was predicted that they are clipped, as outliers are; and they
// are far from the prediction, not from one another.
TEST_F(EstimatorTest, WhatAPathThatBecameSlowTakesIsNoTailAndNoSpread) {
  SCOPED_TRACE(SeedNote(seed_));
  Settle(1'000'000);
  float tails = 0;
  int samples = 0;
  for (Change change = Change::kNone; change == Change::kNone; ++samples) {
    ASSERT_LT(samples, 7);
    change = Add(64'000'000 * LogNormal(&random_, 0.15));
    tails += estimator_.last_tail().mean;
  }
  EXPECT_EQ(tails, 0);
  EXPECT_NEAR(Cost() / 64'000'000, 1, 0.25);
  EXPECT_LT(std::sqrt(estimator_.Log2ErrorSquared(kBytes, &key_, {})), 0.35f);
}

// One in eight takes three times as long, since packets are lost: four of them in a row are chance, forty are not. (To
// a spread that clips what is far out, four in a row are a change.)
TEST_F(EstimatorTest, WhatChanceHasDoneBeforeIsNoChange) {
  SCOPED_TRACE(SeedNote(seed_));
  const auto lossy = [&](double slow) { return 200'000 * (random_.Unit() < slow ? 3 : 1) * LogNormal(&random_, 0.1); };
  int alarms = 0;
  for (int i = 0; i < 100'000; ++i) alarms += Add(lossy(0.125)) == Change::kNone ? 0 : 1;
  EXPECT_LE(alarms, 1);
  int samples = 1;
  while (Add(lossy(1)) == Change::kNone) ASSERT_LT(++samples, 20);
  EXPECT_GT(samples, 4);
}

TEST_F(EstimatorTest, AnExcursionThatPassesIsTail) {
  SCOPED_TRACE(SeedNote(seed_));
  Settle(200'000, 1000);
  Add(50 * 200'000);
  EXPECT_EQ(estimator_.last_tail().mean, 0) << "it may still be a change";
  UsualTail seen;
  for (int i = 0; i < 20; ++i) {
    Add(200'000 * LogNormal(&random_, 0.15));
    seen.mean += estimator_.last_tail().mean;
    seen.square += estimator_.last_tail().square;
  }
  EXPECT_NEAR(seen.mean, 50 - Estimator::kRatioMax, 5);
  EXPECT_NEAR(std::sqrt(seen.square), 50 - Estimator::kRatioMax, 5);
}

TEST_F(EstimatorTest, OneOutlierMovesTheCostByItsShareOnly) {
  SCOPED_TRACE(SeedNote(seed_));
  Settle(200'000, 1000);
  const double before = Cost();
  EXPECT_EQ(Add(50 * 200'000), Change::kNone);
  EXPECT_LT(Cost() / before, 1.12);
}

TEST_F(EstimatorTest, RareStallsAreCharged) {
  SCOPED_TRACE(SeedNote(seed_));
  for (int i = 0; i < 20'000; ++i) {
    const double stall = i % 50 == 49 ? 40 : 1;
    Add(200'000 * stall * LogNormal(&random_, 0.1));
  }
  // 0.98 + 0.02 x 40 = 1.78, where all of the peer's transfers are like that; some of it where only this one's are.
  const UsualTail usual{.mean = 0.02f * 36, .square = 0.02f * 36 * 36};
  EXPECT_NEAR(estimator_.CostNs(kBytes, &key_, usual) / 200'000, 1.78, 0.25);
  EXPECT_GT(Cost() / 200'000, 1.15);
  EXPECT_GT(estimator_.Log2ErrorSquared(kBytes, &key_, usual), estimator_.Log2ErrorSquared(kBytes, &key_, {}))
      << "few of many make a tail: its own share is uncertain";
  EXPECT_GT(estimator_.Log2P99OverCost(key_), 2) << "two in a hundred take forty times as long";
}

TEST_F(EstimatorTest, DoubtMakesTheNextSampleCount) {
  SCOPED_TRACE(SeedNote(seed_));
  Settle(200'000, 1000);
  estimator_.Doubt(1);
  EXPECT_GT(estimator_.Log2ErrorSquared(kBytes, &key_, {}), 1);
  Add(400'000);
  EXPECT_NEAR(Cost() / 400'000, 1, 0.25);
}

// How far off what was in doubt turns out to be is no measure of how far off the next sample will be.
TEST_F(EstimatorTest, OneSampleSettlesALevelThatWasInDoubt) {
  SCOPED_TRACE(SeedNote(seed_));
  for (const double factor : {20.0, 1.0 / 20}) {
    estimator_ = Estimator();
    Settle(2'000'000, 1000);
    estimator_.Doubt(1);
    Add(factor * 2'000'000);
    EXPECT_NEAR(Cost() / (factor * 2'000'000), 1, 0.25);
    EXPECT_LT(std::sqrt(estimator_.Log2ErrorSquared(kBytes, &key_, {})), 0.4f);
    EXPECT_EQ(estimator_.last_tail().mean, 0);
  }
}

TEST_F(EstimatorTest, RetransmissionsThatBeginPutTheLevelInDoubt) {
  SCOPED_TRACE(SeedNote(seed_));
  Settle(200'000, 100);
  int samples = 1;
  while (Add(260'000, 5) == Change::kNone) ASSERT_LT(++samples, 4);
  EXPECT_GT(estimator_.Log2ErrorSquared(kBytes, &key_, {}), 0.4f);
  EXPECT_EQ(estimator_.last_shift(), 1);
}

TEST_F(EstimatorTest, ReliabilityIsTheShareWithoutRetransmissions) {
  for (int i = 0; i < 2000; ++i) Add(200'000, i % 10 == 0 ? 3 : 0);
  EXPECT_NEAR(estimator_.reliability(), 0.9, 0.05);
  for (int i = 0; i < 20; ++i) estimator_.AddFailure();
  EXPECT_LT(estimator_.reliability(), 0.3);
}

TEST(Estimator, WhatIsAsExpectedIsDeferredAndTeachesTheSame) {
  const uint64_t seed = TestSeed(6);
  SCOPED_TRACE(SeedNote(seed));
  Random random(seed);
  Estimator at_once, deferring;
  KeyState key;
  Key deferring_key;
  Key* const keys[] = {&deferring_key};
  int deferred = 0;
  for (int i = 0; i < 4000; ++i) {
    const double mean = i < 2000 ? 200'000 : 240'000;
    const auto latency_ns = static_cast<int64_t>(mean * LogNormal(&random, 0.15));
    at_once.Add(kBytes, latency_ns, 0, false, &key);
    if (deferring.Defer(kBytes, latency_ns, 0, deferring_key.state.inverse_factor)) {
      ++deferred;
      if (deferring.deferred() == kBatch) deferring.LearnBatch(false, keys);
      continue;
    }
    while (deferring.deferred() > 0) deferring.LearnDeferred(false, keys);
    deferring.Add(kBytes, latency_ns, 0, false, &deferring_key.state);
  }
  EXPECT_GT(deferred, 3500);
  const double cost = at_once.CostNs(kBytes, &key, {});
  EXPECT_NEAR(deferring.CostNs(kBytes, &deferring_key.state, {}) / cost, 1, 0.02);
  EXPECT_NEAR(deferring.detector().spread() / at_once.detector().spread(), 1, 0.15);
  EXPECT_NEAR(std::sqrt(deferring.Log2ErrorSquared(kBytes, &deferring_key.state, {}) /
                        at_once.Log2ErrorSquared(kBytes, &key, {})),
              1, 0.2);
  EXPECT_NEAR(deferring.Log2P99OverCost(deferring_key.state), at_once.Log2P99OverCost(key), 0.26);
}

TEST(Estimator, WhatIsNotAsExpectedIsNotDeferred) {
  Estimator estimator;
  KeyState key;
  EXPECT_FALSE(estimator.Defer(kBytes, 200'000, 0, key.inverse_factor)) << "nothing is known yet";
  Random random(TestSeed(8));
  for (int i = 0; i < 200; ++i) {
    estimator.Add(kBytes, static_cast<int64_t>(200'000 * LogNormal(&random, 0.15)), 0, false, &key);
  }
  EXPECT_FALSE(estimator.Defer(kBytes, 800'000, 0, key.inverse_factor));
  EXPECT_FALSE(estimator.Defer(kBytes, 50'000, 0, key.inverse_factor));
  EXPECT_FALSE(estimator.Defer(kBytes, 0, 0, key.inverse_factor));
  EXPECT_EQ(estimator.deferred(), 0u);
  EXPECT_TRUE(estimator.Defer(kBytes, 210'000, 0, key.inverse_factor));
  EXPECT_EQ(estimator.deferred(), 1u);
  EXPECT_EQ(estimator.OldestDeferredBytes(), kBytes);
}

// A line cannot fall, so both factors are needed. No batch ends with the small size until one comes out of turn: its
// factor has to be moved all the same, and not then by what a thousand samples have added up to.
TEST(Estimator, SizesStrictlyInTurnMoveTheFactorsOfBoth) {
  const uint64_t seed = TestSeed(9);
  SCOPED_TRACE(SeedNote(seed));
  Random random(seed);
  Estimator estimator;
  Key small, large;
  Key* const keys[] = {&small, &large};
  uint64_t batches = 0;
  for (int i = 0; i < 6000; ++i) {
    const uint32_t size_class = static_cast<uint32_t>(i > 4000 ? i + 1 : i) % 2;
    const uint64_t bytes = size_class == 0 ? 256 << 10 : kBytes;
    const double small_ns = i < 2000 ? 150'000 : 165'000;
    const auto latency_ns = static_cast<int64_t>((size_class == 0 ? small_ns : 100'000) * LogNormal(&random, 0.1));
    if (estimator.Defer(bytes, latency_ns, size_class, keys[size_class]->state.inverse_factor)) {
      if (estimator.deferred() < kBatch) continue;
      ++batches;
      estimator.LearnBatch(false, keys);
    } else {
      while (estimator.deferred() > 0) estimator.LearnDeferred(false, keys);
      estimator.Add(bytes, latency_ns, 0, false, &keys[size_class]->state);
    }
    if (i < 1000 || (i > 2000 && i < 2600)) continue;
    ASSERT_NEAR(estimator.CostNs(256 << 10, &small.state, {}) / small_ns, 1, 0.12) << "after " << i;
    ASSERT_NEAR(estimator.CostNs(kBytes, &large.state, {}) / 100'000, 1, 0.12) << "after " << i;
  }
  EXPECT_GT(batches, 300u);
}

TEST(Estimator, ClassFactorsBendTheLine) {
  Estimator estimator;
  KeyState small, middle, large;
  for (int i = 0; i < 4000; ++i) {
    estimator.Add(64 << 10, 30'000, 0, false, &small);
    estimator.Add(256 << 10, 150'000, 0, false, &middle);  // no line goes through the three
    estimator.Add(1 << 20, 200'000, 0, false, &large);
  }
  EXPECT_NEAR(estimator.CostNs(64 << 10, &small, {}) / 30'000, 1, 0.1);
  EXPECT_NEAR(estimator.CostNs(256 << 10, &middle, {}) / 150'000, 1, 0.1);
  EXPECT_NEAR(estimator.CostNs(1 << 20, &large, {}) / 200'000, 1, 0.1);
}

}  // namespace
}  // namespace mcp::internal
