// Rails after the first: connected when there is work for them, by whichever side has it, and done without where they
// cannot be.
#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "lib/base/units.h"
#include "tests/contract/session_fixture.h"
#include "tests/support/forwarding_transport.h"

namespace mcp::internal {
namespace {

constexpr uint64_t kSmall = 500;
constexpr uint64_t kLarge = 8 << 20;

// Of the session's rails, as its description has them.
int Connected(const Session& session) {
  const SessionDescription description = session.Describe();
  return static_cast<int>(std::count_if(description.rails.begin(), description.rails.end(),
                                        [](const RailDescription& rail) { return !rail.remote.empty(); }));
}

std::string NotesOfLast(const Session& session) {
  std::string text;
  const SessionDescription description = session.Describe();
  for (const std::string& note : description.rails.back().notes) absl::StrAppend(&text, note, "\n");
  return text;
}

class SessionRails : public SessionContract {
 protected:
  void SetUp() override {
    SessionContract::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    near_ = &NewMemory(client_engine(), 2 * kLarge);
    far_ = &NewMemory(server_engine(), 2 * kLarge);
  }

  // Large messages from one side, one after another, until it has all its rails.
  void SendUntilConnected(Session& from, Memory& source, Session& to, Memory& target) {
    for (uint64_t tag = 1; Connected(from) < GetParam().rails; ++tag) {
      ASSERT_LT(tag, 10'000u) << NotesOfLast(from);
      source.Fill(0, kLarge, tag);
      const auto receive = ops().Receive(to, tag, target.Part(0, kLarge));
      const auto send = ops().Send(from, tag, source.Part(0, kLarge));
      ASSERT_TRUE(Finish(send) && Finish(receive));
      ASSERT_TRUE(ops().status(receive).ok()) << ops().status(receive);
      ASSERT_EQ(target.Mismatch(0, kLarge, tag), "") << "message " << tag;
    }
    EXPECT_TRUE(Drive([&] { return Connected(to) == GetParam().rails; })) << NotesOfLast(to);
  }

  Memory* near_ = nullptr;
  Memory* far_ = nullptr;
};

INSTANTIATE_TEST_SUITE_P(Every, SessionRails, testing::ValuesIn(AllSessionCases()), SessionCaseName);

TEST_P(SessionRails, SmallMessagesNeedOne) {
  for (uint64_t tag = 0; tag < 300; ++tag) {
    const auto there = ops().Receive(server(), tag, far_->Part(0, kSmall));
    const auto back = ops().Receive(client(), tag, near_->Part(kLarge, kSmall));
    ops().Send(client(), tag, near_->Part(0, kSmall));
    ops().Send(server(), tag, far_->Part(kLarge, kSmall));
    ASSERT_TRUE(Finish(there) && Finish(back));
  }
  for (const Session* session : {&client(), &server()}) {
    EXPECT_EQ(Connected(*session), 1);
    EXPECT_EQ(absl::StrContains(NotesOfLast(*session), "not connected: no work has wanted it yet"),
              GetParam().rails > 1);
  }
}

TEST_P(SessionRails, TheConnectingSideHasWork) {
  SendUntilConnected(client(), *near_, server(), *far_);
  EXPECT_EQ(client().Statistics().reconnections, 0u);
  EXPECT_EQ(server().Statistics().reconnections, 0u);
}

TEST_P(SessionRails, TheAcceptingSideHasWork) {
  SendUntilConnected(server(), *far_, client(), *near_);
  EXPECT_EQ(client().Statistics().reconnections, 0u);
  EXPECT_EQ(server().Statistics().reconnections, 0u);
}

TEST_P(SessionRails, BothSidesHaveWorkAtOnce) {
  const auto there = ops().Receive(server(), 1, far_->Part(0, kLarge));
  const auto back = ops().Receive(client(), 1, near_->Part(kLarge, kLarge));
  near_->Fill(0, kLarge, 1);
  far_->Fill(kLarge, kLarge, 2);
  ops().Send(client(), 1, near_->Part(0, kLarge));
  ops().Send(server(), 1, far_->Part(kLarge, kLarge));
  ASSERT_TRUE(Finish(there) && Finish(back));
  EXPECT_EQ(far_->Mismatch(0, kLarge, 1), "");
  EXPECT_EQ(near_->Mismatch(kLarge, kLarge, 2), "");
  ASSERT_TRUE(
      Drive([&] { return Connected(client()) == GetParam().rails && Connected(server()) == GetParam().rails; }));
  SendUntilConnected(client(), *near_, server(), *far_);
}

// A receive that ends early waits for the word of every rail by which its bytes could have come; of those that were
// never connected none could.
TEST_P(SessionRails, WhatEndsEarlyDoesNotWaitForRailsThatAreNotThere) {
  constexpr uint64_t kMiddle = 300 << 10;
  for (uint64_t tag = 0; tag < 8; ++tag) {
    const auto receive = ops().Receive(server(), tag, far_->Part(0, kMiddle));
    const auto send = ops().Send(client(), tag, near_->Part(0, kMiddle));
    for (uint64_t round = 0; round < tag; ++round) world().ProgressAll();
    EXPECT_TRUE(server().Cancel(ops().at(receive).id).ok());
    ASSERT_TRUE(Finish(receive));
    EXPECT_TRUE(client().Cancel(ops().at(send).id).ok());  // it may not have met its receive
    ASSERT_TRUE(Finish(send));
  }
  EXPECT_TRUE(client().status().ok()) << client().status();
}

TEST_P(SessionRails, ClosesWithThoseThatItHas) {
  const auto put = ops().Put(client(), near_->Part(0, kSmall), Export(*far_), 0);
  const auto close = ops().Close(client());
  ASSERT_TRUE(Finish(put) && Finish(close));
  EXPECT_TRUE(ops().status(close).ok()) << ops().status(close);
}

class SessionRailsAtOnce : public SessionContract {
 protected:
  SessionOptions Options() override {
    SessionOptions options = SessionContract::Options();
    options.rails_on_first_use = false;
    return options;
  }
};

INSTANTIATE_TEST_SUITE_P(Every, SessionRailsAtOnce, testing::ValuesIn(AllSessionCases()), SessionCaseName);

TEST_P(SessionRailsAtOnce, OpensWithAllOfThem) {
  EXPECT_EQ(Connected(client()), GetParam().rails);
  EXPECT_TRUE(Drive([&] { return Connected(server()) == GetParam().rails; }));
}

// Does something at the moment that a connection is known to be gone, before its rail is told.
class AtALoss final : public ForwardingTransport {
 public:
  using Act = std::function<void()>;
  AtALoss(std::unique_ptr<Transport> inner, Act* act) : ForwardingTransport(std::move(inner)), act_(act) {}

  size_t Poll(absl::Span<Event> events) override {
    const size_t count = ForwardingTransport::Poll(events);
    const bool lost = std::any_of(events.begin(), events.begin() + static_cast<ptrdiff_t>(count),
                                  [](const Event& event) { return event.kind == Event::Kind::kClosed; });
    if (lost && *act_) std::exchange(*act_, nullptr)();
    return count;
  }

 private:
  Act* const act_;
};

// Virtual time. For as long as the ledger runs hellos arrive damaged, so that no rail is connected, and the second is
// lost with whatever is posted there.
class SessionWithoutRails : public testing::Test {
 protected:
  void SetUp() override {
    EngineWorld::Setup setup;
    setup.plan = FaultPlan::Only(FaultKind::kKill, 1, 1);
    setup.plan->only_connection = 1;
    setup.plan->set_rate(FaultKind::kCorruptHello, 1);
    setup.clock = &clock_;
    setup.decorate = [this](std::unique_ptr<Transport> inner) -> std::unique_ptr<Transport> {
      if (client_engine_ != nullptr) return inner;
      return std::make_unique<AtALoss>(std::move(inner), &at_a_loss_);
    };
    world_ = std::make_unique<EngineWorld>(setup);
    ops_.set_world(world_.get());
    client_engine_ = world_->MakeEngine(0);
    server_engine_ = world_->MakeEngine(0);
    near_ = std::make_unique<Memory>(client_engine_, kLarge);
    far_ = std::make_unique<Memory>(server_engine_, kLarge);
  }

  void Open(bool on_first_use) {
    world_->ledger()->Stop();
    SessionOptions options;
    options.rails = 2;
    options.rails_on_first_use = on_first_use;
    ASSERT_TRUE(world_->Connect(client_engine_, server_engine_, options, &ends_)) << ends_.status;
    world_->ledger()->Start();
  }

  void TearDown() override {
    ends_ = EngineWorld::Ends();
    EXPECT_TRUE(Drive([&] { return ops_.open() == 0; }));
    near_.reset();
    far_.reset();
    world_.reset();
  }

  bool Drive(absl::FunctionRef<bool()> done) { return world_->Drive(done); }
  void Pass(int64_t time_ns) {
    const int64_t until_ns = clock_.NowNs() + time_ns;
    Drive([&] { return clock_.NowNs() >= until_ns; });
  }

  void PutArrives(uint64_t seed) {
    near_->Fill(0, kLarge, seed);
    const auto put = ops_.Put(ends_.client, near_->Part(0, kLarge), *far_->region.Export(), 0);
    ASSERT_TRUE(Drive([&] { return ops_.done(put); }));
    EXPECT_TRUE(ops_.status(put).ok()) << ops_.status(put);
    EXPECT_EQ(far_->Mismatch(0, kLarge, seed), "");
  }

  ManualClock clock_{kNsPerMs};
  AtALoss::Act at_a_loss_;  // of the client's connections, once
  Operations ops_;
  std::unique_ptr<EngineWorld> world_;
  Engine* client_engine_ = nullptr;
  Engine* server_engine_ = nullptr;
  EngineWorld::Ends ends_;
  std::unique_ptr<Memory> near_;
  std::unique_ptr<Memory> far_;
};

// Longer than any timeout of the session's: what nobody waits for ends nothing.
TEST_F(SessionWithoutRails, TheFirstCarriesTheWorkUntilTheyCome) {
  Open(true);
  ASSERT_FALSE(HasFatalFailure());
  for (uint64_t seed = 1; seed < 10; ++seed) {
    PutArrives(seed);
    Pass(2'000 * kNsPerMs);
  }
  EXPECT_TRUE(ends_.client.status().ok() && ends_.server.status().ok()) << ends_.client.status();
  EXPECT_EQ(Connected(ends_.client), 1);
  EXPECT_TRUE(absl::StartsWith(NotesOfLast(ends_.client), "not connected: ")) << NotesOfLast(ends_.client);
  EXPECT_TRUE(absl::StrContains(NotesOfLast(ends_.client), "handshake: ")) << NotesOfLast(ends_.client);
  // Attempts grow rarer: 18 s.
  EXPECT_GE(world_->ledger()->count(FaultKind::kCorruptHello), 18u);
  EXPECT_LE(world_->ledger()->count(FaultKind::kCorruptHello), 80u);
  world_->ledger()->Stop();
  EXPECT_TRUE(Drive([&] { return Connected(ends_.client) == 2 && Connected(ends_.server) == 2; }));
  PutArrives(10);
}

TEST_F(SessionWithoutRails, AListenerThatIsGoneIsNotAskedAgain) {
  Open(true);
  ASSERT_FALSE(HasFatalFailure());
  world_->ledger()->Stop();
  world_->StopListening(server_engine_);
  for (uint64_t seed = 1; seed < 10; ++seed) {
    PutArrives(seed);
    Pass(2'000 * kNsPerMs);
  }
  EXPECT_TRUE(ends_.client.status().ok()) << ends_.client.status();
  EXPECT_TRUE(absl::StrContains(NotesOfLast(ends_.client), "nobody listens there")) << NotesOfLast(ends_.client);
}

// One that was connected and carried nothing is missed by nobody when it is lost, for as long as that may be.
TEST_F(SessionWithoutRails, AnUnusedOneMayBeLost) {
  Open(false);
  ASSERT_FALSE(HasFatalFailure());
  ASSERT_EQ(Connected(ends_.client), 2);
  Pass(20'000 * kNsPerMs);
  EXPECT_EQ(world_->ledger()->count(FaultKind::kKill), 1u) << "peers that have nothing to say ask for signs of life";
  EXPECT_TRUE(ends_.client.status().ok() && ends_.server.status().ok()) << ends_.client.status();
  PutArrives(1);
  world_->ledger()->Stop();
  EXPECT_TRUE(Drive([&] { return ends_.client.Statistics().reconnections == 1; }));
  PutArrives(2);
}

// Another thread has chosen the rail just before, and what it gives to it comes long after: that waits from then on.
TEST_F(SessionWithoutRails, AnUnusedOneThatIsGivenWorkAsItIsLost) {
  Open(false);
  ASSERT_FALSE(HasFatalFailure());
  const RemoteRegion remote = *far_->region.Export();
  std::vector<Operations::Index> puts;
  at_a_loss_ = [&] {
    std::thread([&] {
      for (int rail = 0; rail < 2; ++rail) puts.push_back(ops_.Put(ends_.client, near_->Part(0, kSmall), remote, 0));
    }).join();
  };
  ASSERT_TRUE(Drive([&] { return !puts.empty(); }));
  clock_.Advance(20'000 * kNsPerMs);
  Pass(1'000 * kNsPerMs);
  EXPECT_TRUE(ends_.client.status().ok()) << ends_.client.status();
  EXPECT_EQ(ops_.open(), 1u) << "the other one waits for the rail that it was given to";
  world_->ledger()->Stop();
  ASSERT_TRUE(Drive([&] { return ops_.open() == 0; }));
  for (const auto put : puts) EXPECT_TRUE(ops_.status(put).ok()) << ops_.status(put);
}

TEST_F(SessionWithoutRails, AllOfThemOrNone) {
  Open(true);
  ASSERT_FALSE(HasFatalFailure());
  SessionOptions options;
  options.rails = 2;
  options.rails_on_first_use = false;
  EngineWorld::Ends all;
  EXPECT_FALSE(world_->Connect(client_engine_, server_engine_, options, &all)) << "all of them, or none";
  EXPECT_EQ(all.status.code(), absl::StatusCode::kUnavailable) << all.status;
}

}  // namespace
}  // namespace mcp::internal
