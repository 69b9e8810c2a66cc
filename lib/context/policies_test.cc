#include "lib/context/policies.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "lib/context/log2.h"

namespace mcp::internal {
namespace {

using ::testing::HasSubstr;

Prediction Of(Protocol protocol, double cost_ns, float samples = 200, float error = 0.02f) {
  Prediction prediction;
  prediction.alternative.protocol = protocol;
  prediction.eligible = true;
  prediction.samples = samples;
  prediction.log2_cost = static_cast<float>(Log2(cost_ns));
  prediction.log2_error = error;
  prediction.log2_p99 = prediction.log2_cost + 1;
  prediction.bytes_per_ns = 10;
  return prediction;
}

Situation SettledOn(int current, const std::vector<Prediction>& predictions) {
  Situation situation;
  situation.bytes = 1 << 20;
  situation.predictions = predictions;
  situation.current = current;
  situation.transfers_since_switch = 1000;
  situation.transfers_since_probe = 1000;
  situation.probe_allowed = true;
  situation.log2_probe_budget = 40;
  return situation;
}

TEST(ModelPolicy, StartsWithTheCheapestThatIsKnownElseTheFirst) {
  const std::vector<Prediction> known = {Of(Protocol::kBulk, 100'000), Of(Protocol::kStream, 50'000)};
  EXPECT_EQ(ModelPolicy().Decide(SettledOn(-1, known)).chosen, 1);
  std::vector<Prediction> unknown = {Of(Protocol::kBulk, 1, 0), Of(Protocol::kStream, 1, 0)};
  EXPECT_EQ(ModelPolicy().Decide(SettledOn(-1, unknown)).chosen, 0);
  unknown[0].eligible = false;
  EXPECT_EQ(ModelPolicy().Decide(SettledOn(-1, unknown)).chosen, 1);
}

TEST(ModelPolicy, ChangesItsMindBeyondDoubtOnly) {
  std::vector<Prediction> predictions = {Of(Protocol::kBulk, 100'000), Of(Protocol::kStream, 80'000)};
  Verdict verdict = ModelPolicy().Decide(SettledOn(0, predictions));
  EXPECT_EQ(verdict.chosen, 1);
  EXPECT_EQ(verdict.reason, Reason::kFaster);
  predictions[1].log2_error = 0.2f;
  verdict = ModelPolicy().Decide(SettledOn(0, predictions));
  EXPECT_EQ(verdict.chosen, 0);
  EXPECT_EQ(verdict.reason, Reason::kKeep);
  EXPECT_EQ(verdict.probe, 1) << "what may be cheaper is tried";
  predictions[1] = Of(Protocol::kStream, 80'000, 1);
  EXPECT_EQ(ModelPolicy().Decide(SettledOn(0, predictions)).chosen, 0) << "one sample is no reason";
}

TEST(ModelPolicy, AfterAChangeTheLikelierIsEnoughOnceBothWereSampled) {
  std::vector<Prediction> predictions = {Of(Protocol::kBulk, 100'000, 8, 0.2f), Of(Protocol::kStream, 75'000, 8, 0.2f)};
  Situation situation = SettledOn(0, predictions);
  situation.transfers_since_switch = 8;
  EXPECT_EQ(ModelPolicy().Decide(situation).chosen, 0);
  situation.unsettled = true;
  EXPECT_EQ(ModelPolicy().Decide(situation).chosen, 1);
  situation.transfers_since_switch = 4;
  EXPECT_EQ(ModelPolicy().Decide(situation).chosen, 0) << "nor back and forth";
  situation.transfers_since_switch = 8;
  predictions[1].samples = 1;
  EXPECT_EQ(ModelPolicy().Decide(situation).chosen, 0) << "one sample must be further off";
}

// Ten samples of each do not tell a tenth from chance. Which way losses go does.
TEST(ModelPolicy, WhereLossesBeginBulkIsTakenForTheDearerUntilMuchIsKnown) {
  std::vector<Prediction> predictions = {Of(Protocol::kBulk, 100'000, 10, 0.25f),
                                         Of(Protocol::kStream, 100'000, 10, 0.25f)};
  Situation on_bulk = SettledOn(0, predictions);
  on_bulk.unsettled = true;
  Situation on_stream = on_bulk;
  on_stream.current = 1;
  EXPECT_EQ(ModelPolicy().Decide(on_bulk).chosen, 0);
  on_bulk.losses_began = on_stream.losses_began = true;
  EXPECT_EQ(ModelPolicy().Decide(on_bulk).chosen, 0) << "nothing is lost yet by what is measured";
  predictions[0].retransmits = 2;
  on_bulk.predictions = on_stream.predictions = predictions;
  EXPECT_EQ(ModelPolicy().Decide(on_bulk).chosen, 1);
  EXPECT_EQ(ModelPolicy().Decide(on_stream).chosen, 1);
  for (Prediction& prediction : predictions) prediction.samples = 1000;
  EXPECT_EQ(ModelPolicy().Decide(on_bulk).chosen, 0);
  predictions[0] = Of(Protocol::kBulk, 80'000, 200, 0.05f);
  predictions[1] = Of(Protocol::kStream, 100'000, 200, 0.05f);
  EXPECT_EQ(ModelPolicy().Decide(on_stream).chosen, 0) << "what was measured counts more";
}

// The bound is so wide that probes in a row would not make it narrow in any useful time.
TEST(ModelPolicy, WhatComparisonCannotTellIsProbedInNoHaste) {
  std::vector<Prediction> predictions = {Of(Protocol::kBulk, 100'000), Of(Protocol::kStream, 95'000, 200, 0.05f)};
  predictions[1].log2_gain = 0.05f;
  predictions[1].log2_gain_radius = 0.7f;
  Situation situation = SettledOn(0, predictions);
  situation.transfers_since_probe = 2;
  EXPECT_EQ(ModelPolicy().Decide(situation).probe, 1);
  predictions[1].log2_gain_radius = 0.9f;
  EXPECT_EQ(ModelPolicy().Decide(situation).probe, -1);
  situation.transfers_since_probe = 1000;
  EXPECT_EQ(ModelPolicy().Decide(situation).probe, 1) << "but now and then";
}

TEST(ModelPolicy, AfterAChangeWhatWasSampledOftenIsProbedInNoHaste) {
  std::vector<Prediction> predictions = {Of(Protocol::kBulk, 100'000), Of(Protocol::kStream, 110'000, 3, 0.3f)};
  Situation situation = SettledOn(0, predictions);
  situation.unsettled = true;
  situation.transfers_since_switch = 9;
  situation.transfers_since_probe = 3;
  EXPECT_EQ(ModelPolicy().Decide(situation).probe, 1);
  predictions[1].samples = 8;
  EXPECT_EQ(ModelPolicy().Decide(situation).probe, -1);
}

TEST(ModelPolicy, StaysForAWhile) {
  const std::vector<Prediction> predictions = {Of(Protocol::kBulk, 100'000), Of(Protocol::kStream, 50'000)};
  Situation situation = SettledOn(0, predictions);
  situation.transfers_since_switch = 1;
  EXPECT_EQ(ModelPolicy().Decide(situation).chosen, 0);
}

TEST(ModelPolicy, AHopelessAlternativeIsNotProbed) {
  const std::vector<Prediction> predictions = {Of(Protocol::kBulk, 100'000), Of(Protocol::kStream, 400'000, 9, 0.5f)};
  EXPECT_EQ(ModelPolicy().Decide(SettledOn(0, predictions)).probe, -1);
}

TEST(ModelPolicy, ProbesWithinItsBudgetAndOneAtATime) {
  const std::vector<Prediction> predictions = {Of(Protocol::kBulk, 100'000), Of(Protocol::kStream, 130'000, 9, 0.5f)};
  Situation situation = SettledOn(0, predictions);
  EXPECT_EQ(ModelPolicy().Decide(situation).probe, 1);
  situation.log2_probe_budget = static_cast<float>(Log2(20'000));
  EXPECT_EQ(ModelPolicy().Decide(situation).probe, -1) << "it would cost 30 us";
  situation.log2_probe_budget = 40;
  situation.probe_allowed = false;
  EXPECT_EQ(ModelPolicy().Decide(situation).probe, -1);
}

TEST(ModelPolicy, LeavesWhatIsInQuarantineAtOnce) {
  std::vector<Prediction> predictions = {Of(Protocol::kBulk, 100'000), Of(Protocol::kStream, 400'000)};
  predictions[0].eligible = false;
  Situation situation = SettledOn(0, predictions);
  situation.transfers_since_switch = 0;
  const Verdict verdict = ModelPolicy().Decide(situation);
  EXPECT_EQ(verdict.chosen, 1);
  EXPECT_EQ(verdict.reason, Reason::kUnavailable);
}

TEST(ModelPolicy, ADeadlineCountsMoreThanTheMean) {
  std::vector<Prediction> predictions = {Of(Protocol::kBulk, 100'000), Of(Protocol::kStream, 120'000)};
  predictions[0].log2_p99 = static_cast<float>(Log2(900'000));
  predictions[1].log2_p99 = static_cast<float>(Log2(180'000));
  Situation situation = SettledOn(0, predictions);
  situation.training.deadline = std::chrono::microseconds(200);
  Verdict verdict = ModelPolicy().Decide(situation);
  EXPECT_EQ(verdict.chosen, 1);
  EXPECT_EQ(verdict.reason, Reason::kDeadline);
  situation.current = 1;
  predictions[0].log2_cost -= 2;
  EXPECT_EQ(ModelPolicy().Decide(situation).chosen, 1) << "faster, but late once in a while";
  situation.training.deadline = std::chrono::nanoseconds(0);
  EXPECT_EQ(ModelPolicy().Decide(situation).chosen, 0);
}

TEST(RulesPolicy, FollowsTheTree) {
  std::vector<Prediction> predictions = {Of(Protocol::kBulk, 1), Of(Protocol::kStream, 1), Of(Protocol::kReplica, 1),
                                         Of(Protocol::kBulk, 1)};
  predictions[3].alternative.codec = 2;
  const RulesPolicy policy{RulesOptions{}};
  Situation situation = SettledOn(0, predictions);
  EXPECT_EQ(policy.Decide(situation).chosen, 0) << "fast enough: bulk";
  predictions[0].bytes_per_ns = 0.5f;
  EXPECT_EQ(policy.Decide(situation).chosen, 3) << "slow: packed bulk";
  predictions[0].reliability = 0.9f;
  EXPECT_EQ(policy.Decide(situation).chosen, 2) << "unreliable: replica";
  situation.training.phase = Phase::kInference;
  const Verdict verdict = policy.Decide(situation);
  EXPECT_EQ(verdict.chosen, 1) << "not training: stream";
  EXPECT_EQ(verdict.reason, Reason::kRule);
}

TEST(RulesPolicy, TakesWhatThereIs) {
  std::vector<Prediction> predictions = {Of(Protocol::kStream, 1)};
  EXPECT_EQ(RulesPolicy{RulesOptions{}}.Decide(SettledOn(-1, predictions)).chosen, 0);
  predictions = {Of(Protocol::kBulk, 1)};
  predictions[0].reliability = 0;
  predictions[0].bytes_per_ns = 0.1f;
  EXPECT_EQ(RulesPolicy{RulesOptions{}}.Decide(SettledOn(0, predictions)).chosen, 0);
}

TEST(FixedPolicy, DoesWhatItIsToldWhereItCan) {
  std::vector<Prediction> predictions = {Of(Protocol::kBulk, 1), Of(Protocol::kStream, 1'000'000)};
  const FixedPolicy policy{Alternative{.protocol = Protocol::kStream}};
  EXPECT_EQ(policy.Decide(SettledOn(0, predictions)).chosen, 1);
  EXPECT_EQ(policy.Decide(SettledOn(0, predictions)).probe, -1);
  predictions[1].alternative.rails = 3;
  EXPECT_EQ(policy.Decide(SettledOn(0, predictions)).chosen, 1)
      << "it names the protocol; these are the rails there are";
  predictions[1].eligible = false;
  const Verdict verdict = policy.Decide(SettledOn(1, predictions));
  EXPECT_EQ(verdict.chosen, 0);
  EXPECT_EQ(verdict.reason, Reason::kUnavailable);
}

TEST(MakePolicy, NamesWhatIsWrong) {
  PolicyOptions options;
  for (const char* name : {"model", "rules", "fixed"}) {
    options.policy = name;
    EXPECT_EQ(MakePolicy(options).value()->name(), name);
  }
  options.policy = "modle";
  const absl::Status status = MakePolicy(options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("\"modle\" is unknown: expected model, rules or fixed"));
  options.policy = "rules";
  options.rules.reliability_min = 1.5f;
  EXPECT_THAT(MakePolicy(options).status().message(), HasSubstr("rules.reliability_min 1.5"));
  options.policy = "fixed";
  options.fixed.rails = 0;
  EXPECT_THAT(MakePolicy(options).status().message(), HasSubstr("fixed.rails 0"));
}

}  // namespace
}  // namespace mcp::internal
