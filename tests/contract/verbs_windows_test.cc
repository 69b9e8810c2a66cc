// What a peer was let into is closed to it when that is over: it keeps the key, writes, and is told of a remote access
// error by its own device, while nothing changes here. Over a device of this host, where there is one, and in memory.
#include <algorithm>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/contract/session_fixture.h"
#include "tests/contract/verbs_fixture.h"
#include "tests/support/forwarding_transport.h"
#include "transports/verbs/queues.h"

namespace mcp::internal {
namespace {

constexpr uint64_t kSize = 64 << 10;

// A peer that remembers where it was let in last, and writes there once more when it is told to.
class LyingTransport final : public ForwardingTransport {
 public:
  struct Plan {
    std::optional<RemoteWindow> window;
    bool write = false;
  };
  LyingTransport(std::unique_ptr<Transport> inner, std::shared_ptr<Plan> plan)
      : ForwardingTransport(std::move(inner)), plan_(std::move(plan)) {}

  size_t Post(absl::Span<const WorkRequest> batch) override {
    for (const WorkRequest& work : batch) {
      if (work.kind != WorkRequest::Kind::kWrite) continue;
      plan_->window = work.window.At(work.offset);
      connection_ = work.connection;
    }
    return ForwardingTransport::Post(batch);
  }
  size_t Poll(absl::Span<Event> events) override {
    if (connection_.has_value() && std::exchange(plan_->write, false)) {
      WorkRequest work;
      work.kind = WorkRequest::Kind::kPlace;
      work.connection = *connection_;
      work.payload = lies_.data();
      work.payload_bytes = lies_.size();
      work.window = *plan_->window;
      EXPECT_EQ(ForwardingTransport::Post({&work, 1}), 1u);
    }
    return ForwardingTransport::Poll(events);
  }

 private:
  const std::shared_ptr<Plan> plan_;
  std::optional<ConnectionId> connection_;
  const std::vector<std::byte> lies_ = std::vector<std::byte>(kSize, std::byte{0xee});
};

class VerbsRevocation : public SessionContract {
 protected:
  EngineWorld::Setup WorldSetup() override {
    EngineWorld::Setup setup = SessionContract::WorldSetup();
    setup.decorate = [plan = plan_](std::unique_ptr<Transport> inner) {
      return std::make_unique<LyingTransport>(std::move(inner), plan);
    };
    return setup;
  }
  // The server receives a message into the middle of its region: the client was let in there.
  void Exchange(Memory& near, Memory& far) { Exchange(near, far.Part(kSize, kSize)); }
  void Exchange(Memory& near, const Slice& far) {
    near.Fill(0, kSize, 1);
    const auto receive = ops().Receive(server(), 7, far);
    const auto send = ops().Send(client(), 7, near.Part(0, kSize));
    ASSERT_TRUE(Finish(receive) && Finish(send));
    ASSERT_TRUE(ops().status(receive).ok()) << ops().status(receive);
    ASSERT_TRUE(plan_->window.has_value());
  }
  bool ClientSeesRemoteAccessError() {
    EXPECT_TRUE(Drive([&] { return !client().status().ok() && !server().status().ok(); }));
    EXPECT_TRUE(absl::StrContains(client().status().message(), "remote access error")) << client().status();
    return !HasFailure();
  }

  const std::shared_ptr<LyingTransport::Plan> plan_ = std::make_shared<LyingTransport::Plan>();
};

TEST_P(VerbsRevocation, AReceiveThatIsOver) {
  if (!GetParam().protect) GTEST_SKIP() << "is what protection is for";
  Memory& near = NewMemory(client_engine(), kSize);
  Memory& far = NewMemory(server_engine(), 3 * kSize);
  for (int round = 0; round < 3; ++round) Exchange(near, far);
  ASSERT_FALSE(HasFatalFailure());
  plan_->write = true;
  EXPECT_TRUE(ClientSeesRemoteAccessError());
  EXPECT_EQ(far.Mismatch(kSize, kSize, 1), "") << "a stale key wrote";
}

TEST_P(VerbsRevocation, AGetThatIsOver) {
  if (!GetParam().protect || !GetParam().checksum) GTEST_SKIP() << "nobody is let in";
  // The server gets from the client, whose device answers.
  Memory& near = NewMemory(client_engine(), kSize);
  Memory& far = NewMemory(server_engine(), 3 * kSize);
  near.Fill(0, kSize, 1);
  const auto get = ops().Get(server(), far.Part(kSize, kSize), Export(near), 0);
  ASSERT_TRUE(Finish(get));
  ASSERT_TRUE(ops().status(get).ok()) << ops().status(get);
  plan_->write = true;
  EXPECT_TRUE(ClientSeesRemoteAccessError());
  EXPECT_EQ(far.Mismatch(kSize, kSize, 1), "") << "a stale key wrote";
}

TEST_P(VerbsRevocation, WithoutProtectionARegionStaysOpen) {
  if (GetParam().protect) GTEST_SKIP() << "protected";
  Memory& near = NewMemory(client_engine(), kSize);
  Memory& far = NewMemory(server_engine(), 3 * kSize);
  Exchange(near, far);
  ASSERT_FALSE(HasFatalFailure());
  plan_->write = true;
  EXPECT_TRUE(Drive([&] { return far.Bytes(2 * kSize - 1, 1)[0] == std::byte{0xee}; }));
  EXPECT_TRUE(client().status().ok()) << client().status();
}

// In whichever order they were registered, a peer that was let into the one is not let into the other.
TEST_P(VerbsRevocation, ARegionOverAPartOfAnother) {
  if (GetParam().protect) GTEST_SKIP() << "no region lets anybody in";
  for (const bool outer_first : {true, false}) {
    for (const bool close : {true, false}) {
      SCOPED_TRACE(absl::StrCat(outer_first ? "outer first, " : "inner first, ", close ? "closed" : "open"));
      Memory& near = NewMemory(client_engine(), kSize);
      std::vector<std::byte> bytes(3 * kSize);
      absl::StatusOr<Region> outer, inner;
      const auto open_inner = [&] { inner = server_engine()->Register(bytes.data() + kSize, kSize); };
      if (!outer_first) open_inner();
      outer = server_engine()->Register(bytes.data(), bytes.size());
      if (outer_first) open_inner();
      ASSERT_TRUE(outer.ok() && inner.ok());
      Exchange(near, inner->Part(0, kSize));
      ASSERT_FALSE(HasFatalFailure());
      FillPattern(absl::MakeSpan(bytes), 2);
      if (close) {
        *inner = Region();
      } else {
        plan_->window = plan_->window->At(kSize);
      }
      plan_->write = true;
      EXPECT_TRUE(ClientSeesRemoteAccessError());
      EXPECT_EQ(PatternMismatch(bytes, 2), "") << "a key reached further than its region";
      ends_ = EngineWorld::Ends();
      ASSERT_TRUE(world().Connect(client_engine(), server_engine(), Options(), &ends_)) << ends_.status;
    }
  }
}

// By Revoke, or with the region: what the peer still holds is refused, by the public API too.
TEST_P(VerbsRevocation, AnExportThatIsOver) {
  for (const bool close : {false, true}) {
    SCOPED_TRACE(close ? "closed" : "revoked");
    Memory& near = NewMemory(client_engine(), kSize);
    Memory& far = NewMemory(server_engine(), kSize);
    const RemoteRegion remote = Export(far);
    near.Fill(0, kSize, 1);
    const auto first = ops().Put(client(), near.Part(0, kSize), remote, 0);
    ASSERT_TRUE(Finish(first));
    ASSERT_TRUE(ops().status(first).ok()) << ops().status(first);
    if (close) {
      far.region = Region();
    } else {
      far.region.Revoke();
    }
    near.Fill(0, kSize, 2);
    const auto second = ops().Put(client(), near.Part(0, kSize), remote, 0);
    ASSERT_TRUE(Finish(second));
    EXPECT_FALSE(ops().status(second).ok());
    EXPECT_TRUE(ClientSeesRemoteAccessError());
    EXPECT_EQ(far.Mismatch(0, kSize, 1), "") << "a stale key wrote";
    ends_ = EngineWorld::Ends();
    ASSERT_TRUE(world().Connect(client_engine(), server_engine(), Options(), &ends_)) << ends_.status;
  }
}

std::vector<SessionCase> Cases() {
  std::vector<SessionCase> cases;
  for (const TransportKind kind : {TransportKind::kVerbs, TransportKind::kVerbsFake}) {
    for (const bool protect : {false, true}) {
      for (const int rails : {1, 2}) cases.push_back({kind, 0, rails, rails == 2, protect});
    }
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(All, VerbsRevocation, testing::ValuesIn(Cases()), SessionCaseName);

// What b lets a write for one operation, it takes back.
class VerbsWindows : public VerbsOnFake {
 protected:
  static constexpr uint64_t kSize = 8 << 10;

  void SetUp() override {
    config_.protect_operations = true;
    VerbsOnFake::SetUp();
    if (HasFatalFailure()) return;
    auto far = b()->device_memory()->Register(absl::MakeSpan(far_));
    ASSERT_TRUE(far.ok()) << far.status();
    far_grant_ = *std::move(far);
  }
  void TearDown() override {
    far_grant_.reset();
    VerbsOnFake::TearDown();
    EXPECT_EQ(fabric_->counters().regions_lost, 0u);
  }

  PeerWindows& windows() { return *b()->transport()->windows(); }
  PeerWindows::Opened Open(uint64_t offset = 0, uint64_t length = kSize) {
    auto opened = windows().Open(theirs_, *far_grant_, absl::MakeSpan(far_).subspan(offset, length), this);
    EXPECT_TRUE(opened.ok()) << opened.status();
    return *opened;
  }
  bool Close(uint64_t name) {
    return windows().Close(name) || Drive([&] {
             const auto& closed = b()->windows_closed;
             return std::find(closed.begin(), closed.end(), name) != closed.end();
           });
  }
  WorkRequest Place(const PeerWindows::Opened& opened, uint64_t offset, uint64_t length) {
    WorkRequest work;
    work.kind = WorkRequest::Kind::kPlace;
    work.connection = mine_;
    work.payload = near_.data();
    work.payload_bytes = length;
    work.offset = offset;
    work.window = opened.window;
    work.work_id = 1;
    return work;
  }
  bool Lands(const WorkRequest& work) {
    a()->done.clear();
    EXPECT_EQ(a()->transport()->Post({&work, 1}), 1u);
    EXPECT_TRUE(Drive([&] { return !a()->done.empty() || a()->closed.count(mine_) > 0; }));
    return !a()->done.empty();
  }

  std::vector<std::byte> near_ = PatternBytes(kSize, 1);
  std::vector<std::byte> far_ = PatternBytes(3 * kSize, 2);
  std::unique_ptr<DeviceMemory::Grant> far_grant_;
};

TEST_F(VerbsWindows, LetInWhatTheyCoverUntilTheyClose) {
  const PeerWindows::Opened opened = Open(kSize, kSize);
  EXPECT_TRUE(Lands(Place(opened, 0, kSize)));
  EXPECT_TRUE(std::equal(near_.begin(), near_.end(), far_.begin() + kSize));
  EXPECT_FALSE(windows().Close(opened.name)) << "the device has not said so yet";
  EXPECT_FALSE(windows().Close(opened.name));
  EXPECT_TRUE(Close(opened.name));
  EXPECT_TRUE(windows().Close(opened.name));
  std::fill(near_.begin(), near_.end(), std::byte{9});
  EXPECT_FALSE(Lands(Place(opened, 0, kSize)));
  EXPECT_TRUE(absl::StrContains(a()->closed[mine_].message(), "remote access error")) << a()->closed[mine_];
  EXPECT_EQ(far_[kSize], PatternBytes(kSize, 1)[0]) << "a stale key wrote";
}

TEST_F(VerbsWindows, LetNobodyInBesideThem) {
  for (const auto& [offset, length] : {std::pair<uint64_t, uint64_t>{kSize - 1, 2}, {~uint64_t{0}, 1}}) {
    const PeerWindows::Opened opened = Open(kSize, kSize);
    EXPECT_FALSE(Lands(Place(opened, offset, length)));
    ASSERT_TRUE(BothClosed());
    EXPECT_TRUE(Close(opened.name));
    a()->closed.clear();
    b()->closed.clear();
    Connect();
  }
  EXPECT_EQ(far_, PatternBytes(3 * kSize, 2));
}

TEST_F(VerbsWindows, ARegionByItselfLetsNobodyIn) {
  EXPECT_EQ(far_grant_->window().address, 0u);
  PeerWindows::Opened guessed;
  guessed.window.address = reinterpret_cast<uint64_t>(far_.data());
  guessed.window.set_rkey(0, VerbsMemory::LocalKey(*far_grant_, 0));  // the fake's keys are one
  EXPECT_FALSE(Lands(Place(guessed, 0, 8)));
}

// Neither the connection that bound it nor the one that it is written through matters.
TEST_F(VerbsWindows, OutliveTheirConnection) {
  const PeerWindows::Opened opened = Open();
  a()->transport()->Close(mine_, absl::CancelledError("enough"));
  ASSERT_TRUE(BothClosed());
  a()->closed.clear();
  b()->closed.clear();
  Connect();
  EXPECT_TRUE(Lands(Place(opened, 0, kSize)));
  EXPECT_TRUE(windows().Close(opened.name)) << "nothing to wait for";
  EXPECT_FALSE(Lands(Place(opened, 0, kSize)));
}

// A bind that the device never came to: the peer may have been told the key, or hear of it by the next connection.
TEST_F(VerbsWindows, AreBoundAgainWhereABindIsFlushed) {
  fabric_->HoldSends(true);
  const PeerWindows::Opened kept = Open(0, kSize);
  const PeerWindows::Opened closed = Open(kSize, kSize);
  fabric_->HoldSends(false);
  a()->transport()->Close(mine_, absl::CancelledError("enough"));
  ASSERT_TRUE(BothClosed());
  EXPECT_TRUE(windows().Close(closed.name)) << "nothing to wait for";
  a()->closed.clear();
  b()->closed.clear();
  Connect();
  EXPECT_TRUE(Lands(Place(kept, 0, kSize)));
  EXPECT_TRUE(std::equal(near_.begin(), near_.end(), far_.begin()));
  EXPECT_EQ(fabric_->counters().binds, 1u) << "one that was closed is not bound again";
  EXPECT_TRUE(Close(kept.name));
  EXPECT_FALSE(Lands(Place(kept, 0, kSize)));
}

// A connection that ends with windows half closed: they are closed before it.
TEST_F(VerbsWindows, CloseWithAConnectionThatFails) {
  const PeerWindows::Opened first = Open(0, kSize);
  const PeerWindows::Opened second = Open(kSize, kSize);
  fabric_->HoldSends(true);
  EXPECT_FALSE(windows().Close(first.name));
  b()->transport()->Close(theirs_, absl::CancelledError("enough"));
  ASSERT_TRUE(BothClosed());
  fabric_->HoldSends(false);
  EXPECT_EQ(b()->windows_closed, std::vector<uint64_t>{first.name});
  EXPECT_TRUE(windows().Close(first.name));
  EXPECT_TRUE(windows().Close(second.name));
  a()->closed.clear();
  b()->closed.clear();
  Connect();
  EXPECT_FALSE(Lands(Place(first, 0, kSize)));
}

// However often the few windows of few operations are bound, no key comes back.
TEST_F(VerbsWindows, NoKeyIsGivenTwice) {
  std::set<uint32_t> keys;
  for (int i = 0; i < 2000; ++i) {
    const PeerWindows::Opened opened = Open();
    EXPECT_TRUE(keys.insert(opened.window.rkey(0)).second) << i;
    ASSERT_TRUE(Close(opened.name));
  }
  const FakeFabric::Counters counters = fabric_->counters();
  EXPECT_EQ(counters.binds, 2000u);
  EXPECT_LE(counters.windows_made, 20u);
}

// A send queue without room: slower, and as tight.
TEST_F(VerbsWindows, AreRegistrationsWhereTheQueueIsFull) {
  fabric_->HoldSends(true);
  while (b()->transport()->Post({MessageWork(theirs_, AsBytes("header"))}) == 1) {
  }
  std::vector<PeerWindows::Opened> all;
  for (uint32_t i = 0; i < kSendQueueDepth; ++i) all.push_back(Open());
  fabric_->HoldSends(false);
  EXPECT_TRUE(Lands(Place(all.back(), 0, kSize)));
  EXPECT_TRUE(windows().Close(all.back().name));
  EXPECT_FALSE(Lands(Place(all.back(), 0, kSize)));
  for (const PeerWindows::Opened& opened : all) EXPECT_TRUE(Close(opened.name));
}

class VerbsWithoutWindows : public VerbsWindows {
 protected:
  void SetUp() override {
    fabric_->TakeWindowsAway();
    VerbsWindows::SetUp();
  }
};

TEST_F(VerbsWithoutWindows, RegistrationsDoTheirWork) {
  ASSERT_EQ(b_.engine.verbs->Fallbacks().size(), 1u);
  EXPECT_TRUE(absl::StrContains(b_.engine.verbs->Fallbacks().front().reason, "fake0 has none"));
  const PeerWindows::Opened opened = Open(kSize, kSize);
  EXPECT_TRUE(Lands(Place(opened, 0, kSize)));
  EXPECT_TRUE(windows().Close(opened.name));
  EXPECT_FALSE(Lands(Place(opened, 0, kSize)));
  EXPECT_EQ(fabric_->counters().binds, 0u);
}

}  // namespace
}  // namespace mcp::internal
