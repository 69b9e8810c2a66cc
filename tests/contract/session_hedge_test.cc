// Messages that go by two rails: each is received once, with its own bytes, and a rail that stalls holds none of them
// up.
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "lib/base/random.h"
#include "lib/base/units.h"
#include "lib/session/hedge.h"
#include "tests/contract/session_fixture.h"
#include "tests/support/seed.h"

namespace mcp::internal {
namespace {

constexpr uint64_t kSmall = 500;
constexpr uint64_t kLarge = 300'000;

OperationOptions Hedged() {
  OperationOptions options;
  options.hedge = true;
  return options;
}

class SessionHedge : public SessionContract {
 protected:
  void SetUp() override {
    SessionContract::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    source_ = &NewMemory(client_engine(), 8 << 20);
    target_ = &NewMemory(server_engine(), 8 << 20);
  }

  SessionOptions Options() override {
    SessionOptions options = SessionContract::Options();
    options.rails_on_first_use = false;
    return options;
  }

  Memory* source_ = nullptr;
  Memory* target_ = nullptr;
};

INSTANTIATE_TEST_SUITE_P(Every, SessionHedge, testing::ValuesIn(AllSessionCases()), SessionCaseName);

// More than the window tells apart, many at once, received early and late, among others that are not hedged.
TEST_P(SessionHedge, EachArrivesOnce) {
  constexpr uint64_t kMessages = 3 * HedgeWindow::kSize;
  std::vector<Operations::Index> receives;
  const auto receive = [&](uint64_t i) {
    receives.push_back(StartPatiently([&] { return ops().Receive(server(), i, target_->Part(i * kSmall, kSmall)); }));
  };
  for (uint64_t i = 0; i < kMessages; ++i) {
    source_->Fill(i * kSmall, kSmall, i);
    if (i % 3 != 0) receive(i);
    const OperationOptions options = i % 5 != 0 ? Hedged() : OperationOptions();
    StartPatiently([&] { return ops().Send(client(), i, source_->Part(i * kSmall, kSmall), options); });
  }
  for (uint64_t i = 0; i < kMessages; i += 3) receive(i);
  ASSERT_TRUE(FinishAll());
  for (const auto index : receives) EXPECT_TRUE(ops().status(index).ok()) << ops().status(index);
  for (uint64_t i = 0; i < kMessages; ++i) EXPECT_EQ(target_->Mismatch(i * kSmall, kSmall, i), "") << "message " << i;
  // A second copy would be waiting for this.
  const auto another = ops().Receive(server(), 1, target_->Part(0, kSmall));
  EXPECT_FALSE(Drive([&] { return ops().done(another); }, 50 * kNsPerMs));
  const SessionStatistics statistics = client().Statistics();
  if (GetParam().rails == 1) {
    EXPECT_EQ(statistics.hedged_messages, 0u);
  } else {
    EXPECT_GE(statistics.hedged_messages, HedgeWindow::kSize);
    EXPECT_LE(statistics.hedged_messages, kMessages - kMessages / 5);
  }
  EXPECT_LE(statistics.hedges_won, statistics.hedged_messages);
}

TEST_P(SessionHedge, LongAndEmptyOnesGoToo) {
  source_->Fill(0, kLarge, 1);
  const auto large = ops().Receive(server(), 1, target_->Part(0, kLarge));
  const auto empty = ops().Receive(server(), 2, target_->Part(kLarge, 10));
  ops().Send(client(), 1, source_->Part(0, kLarge), Hedged());
  ops().Send(client(), 2, source_->Part(0, 0), Hedged());
  ASSERT_TRUE(FinishAll());
  EXPECT_TRUE(ops().status(large).ok()) << ops().status(large);
  EXPECT_EQ(ops().at(empty).result.bytes, 0u);
  EXPECT_EQ(target_->Mismatch(0, kLarge, 1), "");
  EXPECT_EQ(client().Statistics().hedged_messages, GetParam().rails == 1 ? 0u : 1u);
}

// The sender's buffer is its own again while a copy may still be under way; and numbers come round again.
TEST_P(SessionHedge, CopiesDoNotReadTheBufferAgain) {
  for (uint64_t round = 0; round < HedgeWindow::kSize + 200; ++round) {
    source_->Fill(0, kSmall, round);
    const auto received = ops().Receive(server(), round, target_->Part(0, kSmall));
    const auto sent = ops().Send(client(), round, source_->Part(0, kSmall), Hedged());
    ASSERT_TRUE(Finish(sent));
    source_->Fill(0, kSmall, ~round);
    ASSERT_TRUE(Finish(received));
    EXPECT_EQ(target_->Mismatch(0, kSmall, round), "");
  }
}

TEST_P(SessionHedge, EndsWithItsSession) {
  for (uint64_t i = 0; i < 100; ++i) ops().Send(client(), i, source_->Part(i * kSmall, kSmall), Hedged());
  ends_ = EngineWorld::Ends();
  EXPECT_TRUE(FinishAll()) << ops().open() << " outlive their session";
}

// Virtual time, messages lost on their way: those that a rail has to ask for again after its probe are late.
class LostCopies {
 public:
  LostCopies(uint64_t seed, const FaultPlan& plan) {
    EngineWorld::Setup setup;
    setup.plan = plan;
    setup.clock = &clock_;
    setup.seed = seed;
    world_ = std::make_unique<EngineWorld>(setup);
    operations_.set_world(world_.get());
    client_ = world_->MakeEngine(0);
    server_ = world_->MakeEngine(0);
    SessionOptions options;
    options.rails = 2;
    options.rails_on_first_use = false;
    EXPECT_TRUE(world_->Connect(client_, server_, options, &ends_)) << ends_.status;
  }

  // How many of so many messages, one after another, were received later than half a probe after they were sent.
  int Late(int messages, const OperationOptions& options) {
    constexpr int64_t kLateNs = 100 * kNsPerMs;
    Memory source(client_, kSmall);
    Memory target(server_, kSmall);
    int late = 0;
    for (int i = 0; i < messages; ++i) {
      const uint64_t tag = next_tag_++;
      source.Fill(0, kSmall, tag);
      const int64_t begun_ns = clock_.NowNs();
      const auto received = operations_.Receive(ends_.server, tag, target.Part(0, kSmall));
      const auto sent = operations_.Send(ends_.client, tag, source.Part(0, kSmall), options);
      EXPECT_TRUE(world_->Drive([&] { return operations_.done(received); }));
      late += clock_.NowNs() - begun_ns >= kLateNs ? 1 : 0;
      EXPECT_EQ(target.Mismatch(0, kSmall, tag), "") << "message " << tag;
      EXPECT_TRUE(world_->Drive([&] { return operations_.done(sent); }));
      EXPECT_TRUE(operations_.status(sent).ok()) << operations_.status(sent);
    }
    return late;
  }
  SessionStatistics statistics() const { return ends_.client.Statistics(); }

 private:
  ManualClock clock_{kNsPerMs};
  Operations operations_;
  std::unique_ptr<EngineWorld> world_;
  Engine* client_ = nullptr;
  Engine* server_ = nullptr;
  EngineWorld::Ends ends_;
  uint64_t next_tag_ = 0;
};

TEST(SessionHedged, LossOfOneCopyDelaysNothing) {
  const uint64_t seed = TestSeed(11);
  SCOPED_TRACE(SeedNote(seed));
  FaultPlan plan = FaultPlan::Only(FaultKind::kDrop, 0.1, seed);
  plan.spared_first = 20;
  LostCopies pair(seed, plan);
  constexpr int kMessages = 400;
  const int plain_late = pair.Late(kMessages, {});
  const int hedged_late = pair.Late(kMessages, Hedged());
  EXPECT_GT(plain_late, kMessages / 20);
  EXPECT_LT(hedged_late, plain_late / 2);
  EXPECT_EQ(pair.statistics().hedged_messages, static_cast<uint64_t>(kMessages));
  EXPECT_GT(pair.statistics().hedges_won, 0u);
}

TEST(SessionHedged, WhateverHappensToTheCopiesOneIsTaken) {
  for (const FaultKind kind : {FaultKind::kDelay, FaultKind::kReorder, FaultKind::kDuplicate, FaultKind::kCorruptHeader,
                               FaultKind::kCorruptPayload, FaultKind::kTruncate, FaultKind::kPartialPost}) {
    const uint64_t seed = TestSeed(12);
    SCOPED_TRACE(absl::StrCat(FaultKindName(kind), ", ", SeedNote(seed)));
    FaultPlan plan = FaultPlan::Only(kind, 0.1, seed);
    plan.spared_first = 20;
    LostCopies pair(seed, plan);
    pair.Late(200, Hedged());
    EXPECT_EQ(pair.statistics().hedged_messages, 200u);
  }
}

}  // namespace
}  // namespace mcp::internal
