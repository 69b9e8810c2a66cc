// What the context layer promises, in short runs of the simulation of `./dev bench context`.
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <string>
#include <utility>

#include "perf/sim/contestant.h"
#include "perf/sim/score.h"
#include "perf/sim/trace.h"
#include "tests/support/seed.h"

namespace mcp::internal {
namespace {

constexpr uint32_t kTransfers = 8'000;

struct Played {
  Score model;
  Score rules;
  double best_fixed_ns = 0;
};

Played Compare(const Trace& trace) {
  const Oracle oracle(trace);
  Played result;
  Adaptive model("model", trace.alternatives);
  result.model = Play(trace, oracle, &model);
  Adaptive rules("rules", trace.alternatives);
  result.rules = Play(trace, oracle, &rules);
  for (uint32_t i = 0; i < trace.alternatives.size(); ++i) {
    Fixed fixed(i, trace.alternatives[i].bytes_max);
    const double total = Play(trace, oracle, &fixed).total_ns;
    if (result.best_fixed_ns == 0 || total < result.best_fixed_ns) result.best_fixed_ns = total;
  }
  return result;
}

class ContextSimTest : public ::testing::TestWithParam<std::string> {
 protected:
  const uint64_t seed_ = TestSeed(11);
};

std::string NameOf(const ::testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace_if(
      name.begin(), name.end(), [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); }, '_');
  return name;
}

class StationaryTest : public ContextSimTest {};

TEST_P(StationaryTest, RegretIsAtMostThreePercentAndNobodyIsMuchBetter) {
  SCOPED_TRACE(SeedNote(seed_));
  const auto result = Compare(MakeTrace(GetParam(), 2 * kTransfers, seed_));
  EXPECT_LE(result.model.regret, 0.03);
  EXPECT_LE(result.model.total_ns, 1.02 * result.best_fixed_ns);
  // Looking whether anything is better costs a little where nothing is.
  EXPECT_LE(result.model.total_ns, 1.01 * result.rules.total_ns);
}

INSTANTIATE_TEST_SUITE_P(Traces, StationaryTest,
                         ::testing::Values("steady", "sizes", "loss 1e-5", "loss 1e-3", "loss 1e-2", "outliers"),
                         NameOf);

// What estimates that remember some hundred samples never tell apart is found, and what is no gap makes no switches.
class SettlesTest : public ContextSimTest {};

TEST_P(SettlesTest, WhatBecameBetterByLittleIsFound) {
  SCOPED_TRACE(SeedNote(seed_));
  const Trace trace = MakeTrace(GetParam(), 25'000, seed_);
  const Oracle oracle(trace);
  Adaptive model("model", trace.alternatives);
  const Score score = Play(trace, oracle, &model);
  ASSERT_EQ(score.until_right.size(), 1u);
  EXPECT_LE(score.until_right[0], 8'000u) << "of 20,000";
  EXPECT_LE(score.regret, 0.03);
}

INSTANTIATE_TEST_SUITE_P(Traces, SettlesTest, ::testing::Values("settles, 5 % apart", "settles, 8 % apart"), NameOf);

class NeedlessTest : public ContextSimTest {};

TEST_P(NeedlessTest, NothingIsSwitchedToThatIsNotBetter) {
  SCOPED_TRACE(SeedNote(seed_));
  const Trace trace = MakeTrace(GetParam(), 4 * kTransfers, seed_);
  const Oracle oracle(trace);
  Adaptive model("model", trace.alternatives);
  const Score score = Play(trace, oracle, &model);
  EXPECT_LE(score.switches_needless, 1u);
  EXPECT_LE(score.regret, 0.005);
}

INSTANTIATE_TEST_SUITE_P(Traces, NeedlessTest, ::testing::Values("steady", "no gap", "1 % apart", "2 % apart"), NameOf);

TEST(ContextSim, GapsAreWhatTheirNamesSay) {
  for (const auto& [name, gap] : {std::pair{"no gap", 0.0}, {"2 % apart", 0.02}, {"settles, 5 % apart", 0.05}}) {
    SCOPED_TRACE(name);
    const Trace trace = MakeTrace(name, 20'000, 3);
    const Oracle oracle(trace);
    const size_t last = trace.steps.size() - 1;
    EXPECT_NEAR(oracle.MeanOf(last, 1) / oracle.MeanOf(last, 0) - 1, gap, 0.004);
  }
}

class ChangingTest : public ContextSimTest {};

TEST_P(ChangingTest, RegretIsAtMostEightPercentWhereThePathChangesEveryThousandTransfers) {
  SCOPED_TRACE(SeedNote(seed_));
  const auto result = Compare(MakeTrace(GetParam(), 2 * kTransfers, seed_));
  EXPECT_LE(result.model.regret, 0.08);
  EXPECT_LE(result.model.total_ns, 1.02 * result.best_fixed_ns);
  EXPECT_LE(result.model.total_ns, result.rules.total_ns);
}

INSTANTIATE_TEST_SUITE_P(Traces, ChangingTest,
                         ::testing::Values("fourfold step", "loss comes and goes", "anything", "drift"), NameOf);

// A tenth of the transfers take 18 times as long: until each slow time is noticed, what its first ones cost weighs like
// a fifth of all the fast ones, so that whoever leaves the better choice for slow times pays for it. Staying with what
// the slow time taught costs more.
TEST(ContextSim, ComesBackToWhatIsBetterAfterASlowTime) {
  const uint64_t seed = TestSeed(11);
  SCOPED_TRACE(SeedNote(seed));
  const auto result = Compare(MakeTrace("slow and fast", 2 * kTransfers, seed));
  EXPECT_LE(result.model.regret, 0.06);
  EXPECT_LE(result.model.total_ns, 1.01 * result.best_fixed_ns);
  EXPECT_LE(result.model.total_ns, result.rules.total_ns);
}

class RestlessTest : public ContextSimTest {};

TEST_P(RestlessTest, IsNotMuchWorseThanTheBestFixedChoice) {
  SCOPED_TRACE(SeedNote(seed_));
  const auto result = Compare(MakeTrace(GetParam(), kTransfers, seed_));
  EXPECT_LE(result.model.total_ns, 1.02 * result.best_fixed_ns);
  EXPECT_LE(result.model.total_ns, result.rules.total_ns);
}

INSTANTIATE_TEST_SUITE_P(Traces, RestlessTest, ::testing::Values("periodic", "flapping, 20", "flapping, 200"), NameOf);

TEST(ContextSim, AFourfoldSlowDownIsLeftWithinTwentyTransfers) {
  const uint64_t seed = TestSeed(12);
  SCOPED_TRACE(SeedNote(seed));
  const Trace trace = MakeTrace("fourfold step", 30'000, seed);
  const Oracle oracle(trace);
  Adaptive model("model", trace.alternatives);
  const Score score = Play(trace, oracle, &model);
  ASSERT_GE(score.reactions_visible.size(), 12u);
  EXPECT_LE(Percentile(score.reactions_visible, 95), 20u);
}

TEST(ContextSim, AColdPathMisleadsForAHundredTransfersAtMost) {
  const uint64_t seed = TestSeed(14);
  SCOPED_TRACE(SeedNote(seed));
  const Trace trace = MakeTrace("warms up", 2'000, seed);
  const Oracle oracle(trace);
  Adaptive model("model", trace.alternatives);
  EXPECT_LE(Play(trace, oracle, &model).regret, 0.05);
}

TEST(ContextSim, ADeadRailIsLeftAfterOneFailureAndUsedAgainWhenItIsBack) {
  const uint64_t seed = TestSeed(13);
  SCOPED_TRACE(SeedNote(seed));
  const Trace trace = MakeTrace("rail dies", 20'000, seed);
  const Oracle oracle(trace);
  Adaptive model("model", trace.alternatives);
  const Score score = Play(trace, oracle, &model);
  EXPECT_LE(score.failures, 8u) << "the first, and a few tries whether it is back";
  EXPECT_LE(score.regret, 0.08);
}

TEST(ContextSim, TheSameTraceGivesTheSameChoices) {
  const Trace trace = MakeTrace("flapping, 20", 3'000, 5);
  const Oracle oracle(trace);
  Adaptive first("model", trace.alternatives), second("model", trace.alternatives);
  EXPECT_EQ(Play(trace, oracle, &first).total_ns, Play(trace, oracle, &second).total_ns);
  EXPECT_EQ(first.advisor().probes(), second.advisor().probes());
  const Trace again = MakeTrace("flapping, 20", 3'000, 5);
  ASSERT_EQ(again.outcomes.size(), trace.outcomes.size());
  for (size_t i = 0; i < trace.outcomes.size(); ++i) {
    ASSERT_EQ(again.outcomes[i].latency_ns, trace.outcomes[i].latency_ns);
  }
}

}  // namespace
}  // namespace mcp::internal
