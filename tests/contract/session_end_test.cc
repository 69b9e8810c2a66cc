// How sessions begin and end: refused, closed, dropped, revoked, with work in flight or without.
#include <algorithm>
#include <atomic>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/contract/session_fixture.h"

namespace mcp::internal {
namespace {

using std::chrono::milliseconds;

constexpr uint64_t kSmall = 500;
constexpr uint64_t kLarge = 8 << 20;

class SessionEnd : public SessionContract {
 protected:
  // Every kind of operation, in flight in both directions, none to memory that another uses. Some of it can never
  // finish by itself.
  std::vector<Operations::Index> StartEverything(bool unmatched) {
    if (near_ == nullptr) {
      near_ = &NewMemory(client_engine(), 6 * kLarge);
      far_ = &NewMemory(server_engine(), 6 * kLarge);
    }
    Memory& near = *near_;
    Memory& far = *far_;
    const RemoteRegion remote_far = Export(far);
    const RemoteRegion remote_near = Export(near);
    std::vector<Operations::Index> started = {
        ops().Put(client(), near.Part(0, kLarge), remote_far, kLarge),
        ops().Put(client(), near.Part(0, kSmall), remote_far, 4 * kLarge),
        ops().Get(client(), near.Part(kLarge, kLarge), remote_far, 0),
        ops().Get(server(), far.Part(2 * kLarge, kSmall), remote_near, 0),
        ops().Send(client(), 1, near.Part(0, kSmall)),
        ops().Receive(server(), 1, far.Part(3 * kLarge, kLarge)),
        ops().Send(client(), 2, near.Part(0, kLarge)),
        ops().Receive(server(), 2, far.Part(5 * kLarge, kLarge)),
    };
    if (unmatched) {
      started.push_back(ops().Receive(client(), 3, near.Part(2 * kLarge, kSmall)));
      started.push_back(ops().Receive(server(), 3, far.Part(4 * kLarge + kSmall, kSmall)));
      started.push_back(ops().Send(client(), 4, near.Part(0, kLarge)));
    }
    for (const auto index : started) EXPECT_TRUE(ops().accepted(index)) << ops().at(index).accepted;
    return started;
  }
  void ExpectEndedAs(const std::vector<Operations::Index>& indices, std::vector<absl::StatusCode> allowed) {
    for (const auto index : indices) {
      const absl::StatusCode code = ops().status(index).code();
      EXPECT_TRUE(code == absl::StatusCode::kOk || std::find(allowed.begin(), allowed.end(), code) != allowed.end())
          << ops().at(index).what << ": " << ops().status(index);
    }
  }
  void ExpectRefused(Session& session, Engine* engine) {
    Memory& memory = NewMemory(engine, kSmall);
    const auto index = ops().Send(session, 1, memory.Part(0, kSmall));
    const absl::StatusCode code = ops().at(index).accepted.code();
    EXPECT_TRUE(code == absl::StatusCode::kCancelled || code == absl::StatusCode::kUnavailable)
        << ops().at(index).accepted;
  }

 private:
  Memory* near_ = nullptr;
  Memory* far_ = nullptr;
};

INSTANTIATE_TEST_SUITE_P(Every, SessionEnd, testing::ValuesIn(AllSessionCases()), SessionCaseName);

TEST_P(SessionEnd, CloseFinishesWhatIsInFlight) {
  const auto started = StartEverything(false);
  std::atomic<int> ends{0};
  server().OnEnd([&](absl::Status status) {
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
    ++ends;
  });
  const auto close = ops().Close(client());
  ASSERT_TRUE(Finish(close));
  EXPECT_TRUE(ops().status(close).ok()) << ops().status(close);
  ExpectRefused(client(), client_engine());
  EXPECT_FALSE(client().status().ok());
  // The client's own are finished; the server's may have met the end.
  for (const size_t i : {0u, 1u, 2u, 4u, 6u}) {
    EXPECT_TRUE(ops().status(started[i]).ok()) << ops().at(started[i]).what << ops().status(started[i]);
  }
  ASSERT_TRUE(FinishAll());
  ExpectEndedAs(started, {absl::StatusCode::kUnavailable});
  EXPECT_TRUE(Drive([&] { return ends.load() == 1 && !server().status().ok(); }));
  ExpectRefused(server(), server_engine());
  const auto again = ops().Close(client());
  EXPECT_TRUE(Finish(again));
}

TEST_P(SessionEnd, DroppingTheHandleCancels) {
  for (const int rounds : {0, 1, 3, 10, 30}) {
    SCOPED_TRACE(rounds);
    if (!client().valid()) {
      ASSERT_TRUE(world().Connect(client_engine(), server_engine(), Options(), &ends_)) << ends_.status;
    }
    const auto started = StartEverything(true);
    for (int i = 0; i < rounds; ++i) world().ProgressAll();
    client() = Session();
    ASSERT_TRUE(FinishAll());
    ExpectEndedAs(started, {absl::StatusCode::kCancelled, absl::StatusCode::kUnavailable});
    ASSERT_TRUE(Drive([&] { return !server().status().ok(); }));
    EXPECT_EQ(server().status().code(), absl::StatusCode::kUnavailable) << server().status();
  }
}

TEST_P(SessionEnd, ThePeersEngineGoes) {
  const auto started = StartEverything(true);
  for (int i = 0; i < 3; ++i) world().ProgressAll();
  server() = Session();
  // Its regions go before it, as the API wants.
  ASSERT_TRUE(FinishAll());
  ExpectEndedAs(started, {absl::StatusCode::kCancelled, absl::StatusCode::kUnavailable});
  memories_.clear();
  world().DestroyEngine(server_engine());
  ASSERT_TRUE(Drive([&] { return !client().status().ok(); }));
  EXPECT_EQ(client().status().code(), absl::StatusCode::kUnavailable) << client().status();
}

TEST_P(SessionEnd, OnEndRunsOnceAndLate) {
  std::atomic<int> runs{0};
  client().OnEnd([&](absl::Status) { ++runs; });
  ASSERT_TRUE(Finish(ops().Close(client())));
  ASSERT_TRUE(Drive([&] { return runs.load() == 1; }));
  std::atomic<int> late{0};
  client().OnEnd([&](absl::Status status) {
    EXPECT_FALSE(status.ok());
    ++late;
  });
  ASSERT_TRUE(Drive([&] { return late.load() == 1; }));
  for (int i = 0; i < 20; ++i) world().ProgressAll();
  EXPECT_EQ(runs.load(), 1);
}

TEST_P(SessionEnd, ConnectSaysWhyThereIsNone) {
  absl::StatusOr<Session> outcome = absl::UnknownError("");
  std::atomic<bool> ran{false};
  const std::string nowhere = GetParam().kind == TransportKind::kLoopback ? "loopback:nowhere" : "127.0.0.1:1";
  client_engine()->ConnectAsync(nowhere, Options(), [&](absl::StatusOr<Session> session) {
    outcome = std::move(session);
    ran = true;
  });
  ASSERT_TRUE(Drive([&] { return ran.load(); }));
  EXPECT_EQ(outcome.status().code(), absl::StatusCode::kUnavailable) << outcome.status();
  EXPECT_TRUE(absl::StrContains(outcome.status().message(), nowhere)) << outcome.status();
}

TEST_P(SessionEnd, WrongOptionsAreNamed) {
  SessionOptions options = Options();
  options.rails = 9;
  std::atomic<bool> ran{false};
  absl::Status status;
  client_engine()->ConnectAsync("loopback:x", options, [&](absl::StatusOr<Session> session) {
    status = session.status();
    ran = true;
  });
  ASSERT_TRUE(Drive([&] { return ran.load(); }));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "rails")) << status;
}

// Dropping the session in the accept callback refuses the peer.
TEST_P(SessionEnd, TheAcceptingSideMayDrop) {
  auto listener = server_engine()->Listen(world().any_address(), Options(), [](Session) {});
  ASSERT_TRUE(listener.ok()) << listener.status();
  std::atomic<bool> ran{false};
  absl::StatusOr<Session> outcome = absl::UnknownError("");
  client_engine()->ConnectAsync(listener->address(), Options(), [&](absl::StatusOr<Session> session) {
    outcome = std::move(session);
    ran = true;
  });
  ASSERT_TRUE(Drive([&] { return ran.load(); }));
  if (outcome.ok()) {
    EXPECT_TRUE(Drive([&] { return !outcome->status().ok(); }));
  }
}

TEST_P(SessionEnd, AStoppedListenerTakesNobody) {
  auto listener = server_engine()->Listen(world().any_address(), Options(), [](Session) { ADD_FAILURE(); });
  ASSERT_TRUE(listener.ok()) << listener.status();
  const std::string address = listener->address();
  *listener = Listener();
  std::atomic<bool> ran{false};
  absl::Status status;
  client_engine()->ConnectAsync(address, Options(), [&](absl::StatusOr<Session> session) {
    status = session.status();
    ran = true;
  });
  ASSERT_TRUE(Drive([&] { return ran.load(); }));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_TRUE(client().status().ok());
}

// One session of many ends; the others do not notice.
TEST_P(SessionEnd, OthersGoOn) {
  std::vector<EngineWorld::Ends> others(6);
  for (EngineWorld::Ends& ends : others) {
    ASSERT_TRUE(world().Connect(client_engine(), server_engine(), Options(), &ends)) << ends.status;
  }
  StartEverything(true);
  Memory& source = NewMemory(client_engine(), kLarge);
  Memory& target = NewMemory(server_engine(), others.size() * kLarge);
  source.Fill(0, kLarge, 1);
  const RemoteRegion remote = Export(target);
  std::vector<Operations::Index> puts;
  for (size_t i = 0; i < others.size(); ++i) {
    puts.push_back(ops().Put(others[i].client, source.Part(0, kLarge), remote, i * kLarge));
  }
  client() = Session();
  ASSERT_TRUE(FinishAll());
  for (size_t i = 0; i < others.size(); ++i) {
    EXPECT_TRUE(ops().status(puts[i]).ok()) << ops().status(puts[i]);
    EXPECT_EQ(target.Mismatch(i * kLarge, kLarge, 1), "");
    EXPECT_TRUE(others[i].client.status().ok()) << others[i].client.status();
  }
}

// After Revoke nothing lands, whoever is in the middle of writing.
TEST_P(SessionEnd, RevokedMemoryIsTheOwnersAlone) {
  if (GetParam().lanes == 0) GTEST_SKIP() << "Revoke waits for the lanes, and this thread is the peer's lane too";
  world().log()->AllowErrors();
  for (int rounds = 0; rounds < 4; ++rounds) {
    if (!client().status().ok()) {
      ASSERT_TRUE(world().Connect(client_engine(), server_engine(), Options(), &ends_)) << ends_.status;
    }
    Memory& source = NewMemory(client_engine(), kLarge);
    Memory& target = NewMemory(server_engine(), 4 * kLarge);
    source.Fill(0, kLarge, 1);
    const RemoteRegion remote = Export(target);
    std::vector<Operations::Index> puts;
    for (uint64_t i = 0; i < 4; ++i) puts.push_back(ops().Put(client(), source.Part(0, kLarge), remote, i * kLarge));
    const size_t done = static_cast<size_t>(rounds);
    ASSERT_TRUE(Drive([&] { return done == 0 || ops().done(puts[done - 1]); }));
    target.region.Revoke();
    std::fill(target.bytes.begin(), target.bytes.end(), std::byte{0x77});
    ASSERT_TRUE(FinishAll());
    EXPECT_EQ(ValueMismatch(target.bytes, std::byte{0x77}), "");
  }
}

TEST_P(SessionEnd, AStaleKeyIsAnErrorForItsUserOnly) {
  if (GetParam().lanes == 0) GTEST_SKIP() << "Revoke waits for the lanes, and this thread is the peer's lane too";
  EngineWorld::Ends other;
  ASSERT_TRUE(world().Connect(client_engine(), server_engine(), Options(), &other)) << other.status;
  Memory& source = NewMemory(client_engine(), kSmall);
  Memory& gone = NewMemory(server_engine(), kSmall);
  Memory& target = NewMemory(server_engine(), kSmall);
  const RemoteRegion stale = Export(gone);
  const RemoteRegion good = Export(target);
  gone.region.Revoke();
  const auto put = ops().Put(client(), source.Part(0, kSmall), stale, 0);
  ASSERT_TRUE(Finish(put));
  EXPECT_FALSE(ops().status(put).ok());
  EXPECT_EQ(ValueMismatch(gone.bytes, std::byte{0}), "");
  const auto beside = ops().Put(other.client, source.Part(0, kSmall), good, 0);
  ASSERT_TRUE(Finish(beside));
  EXPECT_TRUE(ops().status(beside).ok()) << ops().status(beside);
}

}  // namespace
}  // namespace mcp::internal
