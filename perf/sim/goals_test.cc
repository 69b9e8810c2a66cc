#include "perf/sim/goals.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace mcp::internal {
namespace {

// One trace of a full run, with what goals ask for.
struct Played {
  explicit Played(const std::string& name, bool stationary, uint32_t transfers = kTransfersJudged) {
    trace.name = name;
    trace.stationary = stationary;
    trace.steps.resize(transfers);
    model.total_ns = 1e9;
  }
  Result result() const { return {&trace, &model, rules_ns, best_fixed_ns}; }

  Trace trace;
  Score model;
  double rules_ns = 1e9;
  double best_fixed_ns = 1e9;
};

size_t Missed(const std::vector<Result>& results) {
  const std::vector<GoalVerdict> verdicts = Judge(results);
  return static_cast<size_t>(
      std::count_if(verdicts.begin(), verdicts.end(), [](const GoalVerdict& verdict) { return verdict.missed(); }));
}

TEST(Goals, WhatReachesThemMissesNone) {
  const Played steady("steady", true);
  Played step("fourfold step", false);
  step.model.reactions_visible = {6};
  EXPECT_EQ(Missed({steady.result(), step.result()}), 0u);
}

TEST(Goals, EachIsMissedByItself) {
  Played slow("steady", true);
  slow.model.regret = 0.031;
  EXPECT_EQ(Missed({slow.result()}), 1u);
  Played needless("no gap", true);
  needless.model.switches_needless = 2;
  EXPECT_EQ(Missed({needless.result()}), 1u);
  Played changing("drift", false);
  changing.model.regret = 0.081;
  EXPECT_EQ(Missed({changing.result()}), 1u);
  Played late("fourfold step", false);
  late.model.reactions_visible = {21};
  EXPECT_EQ(Missed({late.result()}), 1u);
  Played wrong("settles, 8 % apart", false);
  wrong.model.until_right = {501};
  EXPECT_EQ(Missed({wrong.result()}), 1u);
  Played fixed("steady", true);
  fixed.best_fixed_ns = 0.97e9;
  EXPECT_EQ(Missed({fixed.result()}), 1u);
  Played rules("steady", true);
  rules.rules_ns = 0.9994e9;
  EXPECT_EQ(Missed({rules.result()}), 1u);
}

TEST(Goals, TheWorstTraceIsNamed) {
  Played good("steady", true), bad("outliers", true);
  bad.model.regret = 0.04;
  for (const auto& results : {std::vector<Result>{good.result(), bad.result()}, {bad.result(), good.result()}}) {
    EXPECT_EQ(Judge(results)[0].where, "outliers");
  }
}

TEST(Goals, AShortRunIsNotJudged) {
  Played slow("steady", true, kTransfersJudged - 1);
  slow.model.regret = 1;
  EXPECT_EQ(Missed({slow.result()}), 0u);
  for (const GoalVerdict& verdict : Judge({slow.result()})) EXPECT_EQ(verdict.where, "");
}

}  // namespace
}  // namespace mcp::internal
