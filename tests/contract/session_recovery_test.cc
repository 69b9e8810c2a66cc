// Rails that lose their connections: what was in flight goes on, exactly once, with the right bytes; what cannot come
// back ends in time, and says why.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/contract/session_fixture.h"
#include "tests/support/seed.h"

namespace mcp::internal {
namespace {

using std::chrono::milliseconds;

constexpr int64_t kSecondNs = 1'000'000'000;
constexpr int64_t kMsNs = 1'000'000;
constexpr uint64_t kSmall = 500;
constexpr uint64_t kLarge = 8 << 20;

// Two engines without lanes over the in-process transport, in virtual time, and a plan that starts when it is told to.
class SessionRecovery : public testing::Test {
 protected:
  void Open(FaultPlan plan, int rails, Protocol protocol = Protocol::kBulk, SessionOptions options = {}) {
    EngineWorld::Setup setup;
    setup.plan = plan;
    setup.context.policy = "fixed";
    setup.context.fixed.protocol = protocol;
    setup.clock = &clock_;
    world_ = std::make_unique<EngineWorld>(setup);
    ops_.set_world(world_.get());
    client_engine_ = world_->MakeEngine(0);
    server_engine_ = world_->MakeEngine(0);
    world_->ledger()->Stop();
    options.rails = rails;
    options.rails_on_first_use = false;
    ASSERT_TRUE(world_->Connect(client_engine_, server_engine_, options, &ends_)) << ends_.status;
    for (Engine* engine : {client_engine_, server_engine_})
      memories_.push_back(std::make_unique<Memory>(engine, kBytes));
    near_ = memories_[0].get();
    far_ = memories_[1].get();
    remote_ = *far_->region.Export();
  }

  void TearDown() override {
    if (world_ == nullptr) return;
    ends_ = EngineWorld::Ends();
    EXPECT_TRUE(FinishAll());
    memories_.clear();
    world_.reset();
  }

  bool Drive(absl::FunctionRef<bool()> done) { return world_->Drive(done); }
  bool Finish(Operations::Index index) {
    return Drive([&] { return ops_.done(index); });
  }
  bool FinishAll() {
    return Drive([&] { return ops_.open() == 0; });
  }
  uint64_t Reconnections() { return ends_.client.Statistics().reconnections; }

  // The client's connections are lost with the next thing that it posts, and no attempt to make another succeeds, until
  // ledger()->Stop().
  static FaultPlan Away(std::optional<uint32_t> only = std::nullopt) {
    FaultPlan plan = FaultPlan::Only(FaultKind::kKill, 1, 1);
    plan.set_rate(FaultKind::kCorruptHello, 1);
    plan.only_connection = only;
    return plan;
  }
  // A put that is posted and takes its rail with it.
  Operations::Index LoseRail() {
    world_->ledger()->Start();
    near_->Fill(0, kSmall, 7);
    const auto put = ops_.Put(ends_.client, near_->Part(0, kSmall), remote_, 0);
    EXPECT_TRUE(Drive([&] { return LogHas("; lost, connecting it again") && LogHas("; lost, waiting for the peer"); }));
    return put;
  }
  bool LogHas(absl::string_view text) {
    const auto lines = world_->log()->lines();
    return std::any_of(lines.begin(), lines.end(), [text](const std::string& l) { return absl::StrContains(l, text); });
  }

  static constexpr uint64_t kBytes = 6 * kLarge;

  ManualClock clock_{kSecondNs};
  Operations ops_;
  std::unique_ptr<EngineWorld> world_;
  Engine* client_engine_ = nullptr;
  Engine* server_engine_ = nullptr;
  EngineWorld::Ends ends_;
  std::vector<std::unique_ptr<Memory>> memories_;
  Memory* near_ = nullptr;
  Memory* far_ = nullptr;
  RemoteRegion remote_;
};

// One connection is killed once, at every moment of a large transfer of each kind in each direction.
TEST_F(SessionRecovery, ATransferSurvivesTheLossOfAnyConnection) {
  uint64_t kills = 0;
  for (const int rails : {1, 2}) {
    for (const Protocol protocol : {Protocol::kBulk, Protocol::kStream}) {
      for (uint64_t moment = 0; moment < 24; moment += rails) {
        SCOPED_TRACE(absl::StrCat("rails ", rails, ", protocol ", static_cast<int>(protocol), ", moment ", moment));
        FaultPlan plan = FaultPlan::Only(FaultKind::kKill, 1, 1);
        plan.faults_max = 1;
        plan.spared_first = 2 + moment;
        plan.only_connection = static_cast<uint32_t>(rails - 1);
        Open(plan, rails, protocol);
        ASSERT_FALSE(HasFatalFailure());
        near_->Fill(0, 2 * kLarge, 1);
        far_->Fill(2 * kLarge, kLarge, 2);
        world_->ledger()->Start();
        const auto put = ops_.Put(ends_.client, near_->Part(0, kLarge), remote_, 0);
        const auto send = ops_.Send(ends_.client, 1, near_->Part(kLarge, kLarge));
        const auto receive = ops_.Receive(ends_.server, 1, far_->Part(kLarge, kLarge));
        const auto get = ops_.Get(ends_.client, near_->Part(2 * kLarge, kLarge), remote_, 2 * kLarge);
        ASSERT_TRUE(FinishAll());
        for (const auto index : {put, send, receive, get}) {
          EXPECT_TRUE(ops_.status(index).ok()) << ops_.at(index).what << ": " << ops_.status(index);
        }
        EXPECT_EQ(PatternMismatch(far_->Bytes(0, kLarge), 1), PatternMismatch(near_->Bytes(0, kLarge), 1));
        EXPECT_TRUE(std::equal(near_->bytes.begin(), near_->bytes.begin() + 2 * kLarge, far_->bytes.begin()));
        EXPECT_EQ(near_->Mismatch(2 * kLarge, kLarge, 2), "");
        // A moment may lie behind the last thing that is posted.
        const uint64_t killed = world_->ledger()->count(FaultKind::kKill);
        kills += killed;
        ASSERT_TRUE(
            Drive([&] { return Reconnections() == killed && ends_.server.Statistics().reconnections == killed; }));
        EXPECT_EQ(LogHas(": back after "), killed == 1) << "it is said that the rail came back";
        const auto notes = ends_.client.Describe().rails[rails - 1].notes;
        EXPECT_EQ(std::count_if(notes.begin(), notes.end(),
                                [](const std::string& note) { return absl::StartsWith(note, "reconnected 1 times"); }),
                  static_cast<ptrdiff_t>(killed));
        TearDown();
      }
    }
  }
  EXPECT_GT(kills, 30u);
}

// Completions that the resumption of a rail runs post at once what fills a frame. By then it is settled what the peer
// has taken: nothing lands a second time on what was written there after the first.
TEST_F(SessionRecovery, WhatThePeerHasTakenDoesNotLandAgainWhereCompletionsPost) {
  constexpr uint64_t kTile = 64 << 10;
  constexpr uint64_t kTiles = 16;
  constexpr int kBurst = 24;  // of kSmall: more than a frame holds
  FaultPlan plan = FaultPlan::Only(FaultKind::kKill, 1, 1);
  plan.faults_max = 1;
  plan.spared_first = kTiles;
  Open(plan, 1);
  ASSERT_FALSE(HasFatalFailure());
  near_->Fill(0, kLarge, 1);
  world_->ledger()->Start();
  for (uint64_t offset = 0; offset < kTiles * kTile; offset += kTile) {
    ops_.Start(
        "tile",
        [&](Completion done) { return ends_.client.Put(near_->Part(offset, kTile), remote_, offset, std::move(done)); },
        [this, offset](const Result& result) {
          if (!result.status.ok()) return;
          far_->Fill(offset, kTile, 2);
          for (int n = 0; n < kBurst; ++n) ops_.Put(ends_.client, near_->Part(0, kSmall), remote_, kLarge);
        });
  }
  // The peer has them, and the connection goes before it has said so.
  client_engine_->Progress();
  server_engine_->Progress();
  ops_.Put(ends_.client, near_->Part(0, kSmall), remote_, kLarge);
  client_engine_->Progress();
  ASSERT_EQ(world_->ledger()->count(FaultKind::kKill), 1u);
  ASSERT_TRUE(FinishAll());
  for (Operations::Index i = 0; i < ops_.started(); ++i) EXPECT_TRUE(ops_.status(i).ok()) << ops_.status(i);
  for (uint64_t offset = 0; offset < kTiles * kTile; offset += kTile) {
    EXPECT_EQ(far_->Mismatch(offset, kTile, 2), "");
  }
  EXPECT_EQ(ends_.client.Statistics().retransmitted_tiles, 0u);
}

// The other rail goes on with what comes, while one is away.
TEST_F(SessionRecovery, WorkGoesOnWhileOneOfTwoIsAway) {
  Open(Away(1), 2);
  ASSERT_FALSE(HasFatalFailure());
  std::vector<Operations::Index> lost;
  lost.push_back(LoseRail());
  if (!LogHas("lost")) return;
  near_->Fill(kLarge, kLarge, 9);
  for (int i = 0; i < 20; ++i) {
    const auto send = ops_.Send(ends_.client, 1, near_->Part(kLarge, kLarge));
    const auto receive = ops_.Receive(ends_.server, 1, far_->Part(kLarge, kLarge));
    ASSERT_TRUE(Finish(send) && Finish(receive));
    EXPECT_TRUE(ops_.status(receive).ok()) << ops_.status(receive);
    EXPECT_EQ(far_->Mismatch(kLarge, kLarge, 9), "");
  }
  EXPECT_EQ(Reconnections(), 0u);
  world_->ledger()->Stop();
  ASSERT_TRUE(FinishAll());
  for (const auto index : lost) EXPECT_TRUE(ops_.status(index).ok()) << ops_.status(index);
}

// The context layer hears of the loss and of the return before any transfer could tell.
TEST_F(SessionRecovery, ALostRailIsAReasonToDecideAnew) {
  Open(Away(1), 2);
  ASSERT_FALSE(HasFatalFailure());
  const auto decided_for_it = [&] {
    const auto decisions = client_engine_->Decisions();
    EXPECT_TRUE(decisions.ok());
    return std::any_of(decisions->begin(), decisions->end(),
                       [](const std::string& line) { return absl::StrContains(line, "quarantine"); });
  };
  near_->Fill(kLarge, kLarge, 9);
  const auto message = [&] {
    const auto send = ops_.Send(ends_.client, 1, near_->Part(kLarge, kLarge));
    const auto receive = ops_.Receive(ends_.server, 1, far_->Part(kLarge, kLarge));
    EXPECT_TRUE(Finish(send) && Finish(receive));
  };
  for (int i = 0; i < 50; ++i) message();
  EXPECT_FALSE(decided_for_it());
  LoseRail();
  if (!LogHas("lost")) return;
  EXPECT_TRUE(Drive(decided_for_it));
  world_->ledger()->Stop();
  ASSERT_TRUE(FinishAll());
  EXPECT_TRUE(Drive([&] { return Reconnections() == 1; }));
  message();
}

TEST_F(SessionRecovery, OperationsAreAcceptedWhileAllAreAway) {
  Open(Away(), 1);
  ASSERT_FALSE(HasFatalFailure());
  std::vector<Operations::Index> started = {LoseRail()};
  near_->Fill(kLarge, kLarge, 3);
  far_->Fill(2 * kLarge, kLarge, 4);
  started.push_back(ops_.Put(ends_.client, near_->Part(kLarge, kLarge), remote_, kLarge));
  started.push_back(ops_.Get(ends_.client, near_->Part(2 * kLarge, kLarge), remote_, 2 * kLarge));
  started.push_back(ops_.Send(ends_.client, 1, near_->Part(kLarge, kLarge)));
  started.push_back(ops_.Receive(ends_.server, 1, far_->Part(3 * kLarge, kLarge)));
  for (const auto index : started) ASSERT_TRUE(ops_.accepted(index)) << ops_.at(index).accepted;
  for (int i = 0; i < 50; ++i) world_->ProgressAll();
  EXPECT_EQ(ops_.open(), started.size());
  world_->ledger()->Stop();
  ASSERT_TRUE(FinishAll());
  for (const auto index : started) EXPECT_TRUE(ops_.status(index).ok()) << ops_.at(index).what << ops_.status(index);
  EXPECT_EQ(far_->Mismatch(0, kSmall, 7), "");
  EXPECT_EQ(far_->Mismatch(kLarge, kLarge, 3), "");
  EXPECT_EQ(near_->Mismatch(2 * kLarge, kLarge, 4), "");
  EXPECT_EQ(far_->Mismatch(3 * kLarge, kLarge, 3), "");
}

// What was not posted ends at once; what was ends when the rail is back, and only then.
TEST_F(SessionRecovery, CancelWhileAway) {
  Open(Away(), 1);
  ASSERT_FALSE(HasFatalFailure());
  const auto posted = LoseRail();
  const auto queued = ops_.Put(ends_.client, near_->Part(kLarge, kLarge), remote_, kLarge);
  for (const auto index : {posted, queued}) EXPECT_TRUE(ends_.client.Cancel(ops_.at(index).id).ok());
  ASSERT_TRUE(Finish(queued));
  EXPECT_EQ(ops_.status(queued).code(), absl::StatusCode::kCancelled) << ops_.status(queued);
  EXPECT_EQ(Reconnections(), 0u);
  EXPECT_FALSE(ops_.done(posted));
  world_->ledger()->Stop();
  ASSERT_TRUE(Finish(posted));
  EXPECT_TRUE(ops_.status(posted).ok()) << ops_.status(posted);
  EXPECT_EQ(far_->Mismatch(0, kSmall, 7), "");
  EXPECT_EQ(ValueMismatch(far_->Bytes(kLarge, kLarge), std::byte{0}), "");
}

TEST_F(SessionRecovery, CloseWhileAway) {
  Open(Away(), 1);
  ASSERT_FALSE(HasFatalFailure());
  const auto put = LoseRail();
  const auto close = ops_.Close(ends_.client);
  for (int i = 0; i < 50; ++i) world_->ProgressAll();
  EXPECT_FALSE(ops_.done(close));
  world_->ledger()->Stop();
  ASSERT_TRUE(Finish(close));
  EXPECT_TRUE(ops_.status(close).ok()) << ops_.status(close);
  EXPECT_TRUE(ops_.status(put).ok()) << ops_.status(put);
  EXPECT_EQ(far_->Mismatch(0, kSmall, 7), "");
  EXPECT_TRUE(Drive([&] { return !ends_.server.status().ok(); }));
}

TEST_F(SessionRecovery, DroppingTheHandleWhileAwayEndsBothSides) {
  Open(Away(), 1);
  ASSERT_FALSE(HasFatalFailure());
  const auto put = LoseRail();
  ends_.client = Session();
  ASSERT_TRUE(Finish(put));
  EXPECT_EQ(ops_.status(put).code(), absl::StatusCode::kCancelled) << ops_.status(put);
  const int64_t began_ns = clock_.NowNs();
  ASSERT_TRUE(Drive([&] { return !ends_.server.status().ok(); }));
  EXPECT_LE(clock_.NowNs() - began_ns, 520 * kMsNs);
}

TEST_F(SessionRecovery, AllAwayForTooLongIsTheEnd) {
  Open(Away(), 2);
  ASSERT_FALSE(HasFatalFailure());
  const auto first = LoseRail();
  const auto second = ops_.Put(ends_.client, near_->Part(kLarge, kLarge), remote_, kLarge);  // by the other rail
  const int64_t began_ns = clock_.NowNs();
  ASSERT_TRUE(Finish(first) && Finish(second));
  for (Session* session : {&ends_.client, &ends_.server}) {
    ASSERT_TRUE(Drive([&] { return !session->status().ok(); }));
    EXPECT_EQ(session->status().code(), absl::StatusCode::kUnavailable);
    EXPECT_TRUE(absl::StrContains(session->status().message(), "lost, and not back after 5")) << session->status();
  }
  EXPECT_GE(clock_.NowNs() - began_ns, 490 * kMsNs);
  EXPECT_LE(clock_.NowNs() - began_ns, 550 * kMsNs);
  EXPECT_EQ(ops_.status(first).code(), absl::StatusCode::kUnavailable) << ops_.status(first);
  // Attempts grow rarer: two rails, half a second.
  EXPECT_LE(world_->ledger()->count(FaultKind::kCorruptHello), 40u);
  EXPECT_GE(world_->ledger()->count(FaultKind::kCorruptHello), 8u);
}

// The other rail shows that the peer lives, so that there is more time; but not for ever.
TEST_F(SessionRecovery, OneAwayForTooLongIsTheEndToo) {
  SessionOptions options;
  options.peer_timeout = milliseconds(2000);
  Open(Away(0), 2, Protocol::kBulk, options);
  ASSERT_FALSE(HasFatalFailure());
  world_->ledger()->Start();
  const int64_t began_ns = clock_.NowNs();
  const auto send = ops_.Send(ends_.client, 1, near_->Part(0, kSmall));  // by the first rail
  ASSERT_TRUE(Finish(send));
  EXPECT_EQ(ops_.status(send).code(), absl::StatusCode::kUnavailable) << ops_.status(send);
  EXPECT_TRUE(absl::StrContains(ops_.status(send).message(), "not back after 20")) << ops_.status(send);
  EXPECT_LE(clock_.NowNs() - began_ns, 2100 * kMsNs);
}

TEST_F(SessionRecovery, AListenerThatIsGoneIsTheEndAtOnce) {
  Open(FaultPlan::Only(FaultKind::kKill, 1, 1), 1);
  ASSERT_FALSE(HasFatalFailure());
  world_->StopListening(server_engine_);
  world_->ledger()->Start();
  const int64_t began_ns = clock_.NowNs();
  const auto put = ops_.Put(ends_.client, near_->Part(0, kSmall), remote_, 0);
  ASSERT_TRUE(Finish(put));
  EXPECT_EQ(ops_.status(put).code(), absl::StatusCode::kUnavailable) << ops_.status(put);
  EXPECT_TRUE(absl::StrContains(ops_.status(put).message(), "nobody listens there")) << ops_.status(put);
  EXPECT_LE(clock_.NowNs() - began_ns, 10 * kMsNs);
}

TEST_F(SessionRecovery, ASessionThatIsGoneIsTheEndAtOnce) {
  Open(Away(), 1);
  ASSERT_FALSE(HasFatalFailure());
  LoseRail();
  ends_.server = Session();
  world_->ledger()->Stop();
  const int64_t began_ns = clock_.NowNs();
  ASSERT_TRUE(Drive([&] { return !ends_.client.status().ok(); }));
  EXPECT_TRUE(absl::StrContains(ends_.client.status().message(), "names no session")) << ends_.client.status();
  EXPECT_LE(clock_.NowNs() - began_ns, 110 * kMsNs);
}

TEST_F(SessionRecovery, ZeroMeansNone) {
  SessionOptions options;
  options.recovery_timeout = milliseconds(0);
  FaultPlan plan = FaultPlan::Only(FaultKind::kKill, 1, 1);
  plan.only_connection = 0;
  Open(plan, 2, Protocol::kBulk, options);
  ASSERT_FALSE(HasFatalFailure());
  world_->ledger()->Start();
  const auto send = ops_.Send(ends_.client, 1, near_->Part(0, kSmall));
  ASSERT_TRUE(Finish(send));
  EXPECT_EQ(ops_.status(send).code(), absl::StatusCode::kUnavailable) << ops_.status(send);
  EXPECT_TRUE(Drive([&] { return !ends_.server.status().ok(); }));
  EXPECT_EQ(Reconnections(), 0u);
}

// A path on which nothing arrives any more, and nobody says so, while the other rail goes on.
TEST_F(SessionRecovery, ASilentRailIsMadeAnew) {
  SessionOptions options;
  options.peer_timeout = milliseconds(1000);
  FaultPlan plan = FaultPlan::Only(FaultKind::kDrop, 1, 1);
  plan.only_connection = 0;
  Open(plan, 2, Protocol::kBulk, options);
  ASSERT_FALSE(HasFatalFailure());
  world_->ledger()->Start();
  near_->Fill(0, kSmall, 5);
  const auto send = ops_.Send(ends_.client, 1, near_->Part(0, kSmall));
  const auto receive = ops_.Receive(ends_.server, 1, far_->Part(0, kSmall));
  ASSERT_TRUE(Drive([&] { return Reconnections() > 0; }));
  EXPECT_TRUE(LogHas("no sign of life for 1"));
  world_->ledger()->Stop();
  ASSERT_TRUE(Finish(send) && Finish(receive));
  EXPECT_TRUE(ops_.status(receive).ok()) << ops_.status(receive);
  EXPECT_EQ(far_->Mismatch(0, kSmall, 5), "");
}

// Over every transport, with lanes that are threads: queue pairs that fail, sockets that close.
class SessionFailover : public SessionContract {
 protected:
  EngineWorld::Setup WorldSetup() override {
    EngineWorld::Setup setup = SessionContract::WorldSetup();
    FaultPlan plan = FaultPlan::Only(FaultKind::kKill, 1, 1);
    plan.faults_max = kLosses;
    setup.plan = plan;
    return setup;
  }
  void SetUp() override {
    SessionContract::SetUp();
    if (world_ != nullptr) world().ledger()->Stop();
  }
  static constexpr uint64_t kLosses = 20;
};

INSTANTIATE_TEST_SUITE_P(Every, SessionFailover, testing::ValuesIn(AllSessionCases()), SessionCaseName);

// Puts and gets, one loss after another; and how long each rail was away.
TEST_P(SessionFailover, TakesLittleTime) {
  Memory& near = NewMemory(client_engine(), 4 * kLarge);
  Memory& far = NewMemory(server_engine(), 4 * kLarge);
  const RemoteRegion remote = Export(far);
  far.Fill(kLarge, kLarge, 2);
  for (uint64_t loss = 0; loss < kLosses; ++loss) {
    near.Fill(0, kLarge, loss);
    world().ledger()->Start();
    const auto put = ops().Put(client(), near.Part(0, kLarge), remote, 0);
    const auto get = ops().Get(client(), near.Part(kLarge, kLarge), remote, kLarge);
    ASSERT_TRUE(Drive([&] { return world().ledger()->total() > loss; }));
    world().ledger()->Stop();
    ASSERT_TRUE(FinishAll());
    EXPECT_TRUE(ops().status(put).ok()) << ops().status(put);
    EXPECT_TRUE(ops().status(get).ok()) << ops().status(get);
    EXPECT_EQ(far.Mismatch(0, kLarge, loss), "");
    EXPECT_EQ(near.Mismatch(kLarge, kLarge, 2), "");
  }
  std::vector<int64_t> away_us;
  for (const std::string& line : world().log()->lines()) {
    const size_t at = line.find(": back after ");
    if (at != std::string::npos) away_us.push_back(std::atoll(line.c_str() + at + 13));
  }
  ASSERT_FALSE(away_us.empty());
  std::sort(away_us.begin(), away_us.end());
  std::printf("%s: %zu times a rail was away: median %lld us, longest %lld us\n",
              testing::PrintToString(GetParam()).c_str(), away_us.size(),
              static_cast<long long>(away_us[away_us.size() / 2]), static_cast<long long>(away_us.back()));
}

}  // namespace
}  // namespace mcp::internal
