// Closing, at either side, at any moment: once, with a reason, and with no hand left on anyone's memory.
#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "lib/base/random.h"
#include "tests/contract/transport_fixture.h"

namespace mcp::internal {
namespace {

constexpr std::byte kUntouched{0xa5};

class TransportClose : public TransportContract {
 protected:
  bool BothClosed(const Wire& wire) {
    return Drive([&] { return a()->closed.count(wire.client_id) > 0 && b()->closed.count(wire.server_id) > 0; });
  }
};

INSTANTIATE_TEST_SUITE_P(Every, TransportClose, testing::ValuesIn(AllTransportCases()), TransportCaseName);

TEST_P(TransportClose, BothSidesHearOnce) {
  int mine = 0, theirs = 0;
  const Wire wire = Connect(a(), b(), &mine, &theirs);
  a()->transport()->Close(wire.client_id, absl::CancelledError("enough"));
  ASSERT_TRUE(BothClosed(wire));
  EXPECT_EQ(a()->closed[wire.client_id], absl::CancelledError("enough"));
  EXPECT_TRUE(absl::StrContains(b()->closed[wire.server_id].message(), "enough")) << b()->closed[wire.server_id];
  DriveAWhile();
  EXPECT_EQ(a()->closed_contexts, std::vector<void*>{&mine});
  EXPECT_EQ(b()->closed_contexts, std::vector<void*>{&theirs});
}

TEST_P(TransportClose, TheAcceptingSideMayClose) {
  const Wire wire = Connect();
  b()->transport()->Close(wire.server_id, absl::InternalError("out"));
  ASSERT_TRUE(BothClosed(wire));
  EXPECT_EQ(b()->closed[wire.server_id], absl::InternalError("out"));
  EXPECT_TRUE(absl::StrContains(a()->closed[wire.client_id].message(), "out")) << a()->closed[wire.client_id];
}

TEST_P(TransportClose, BothMayCloseAtOnceAndAgain) {
  const Wire wire = Connect();
  a()->transport()->Close(wire.client_id, absl::CancelledError("first"));
  b()->transport()->Close(wire.server_id, absl::CancelledError("first"));
  a()->transport()->Close(wire.client_id, absl::InternalError("second"));
  ASSERT_TRUE(BothClosed(wire));
  DriveAWhile();
  EXPECT_EQ(a()->closed[wire.client_id], absl::CancelledError("first"));
  EXPECT_EQ(a()->closed_contexts.size(), 1u);
  EXPECT_EQ(b()->closed_contexts.size(), 1u);
}

TEST_P(TransportClose, WorkPostedAfterCloseIsSwallowed) {
  const Wire wire = Connect();
  a()->transport()->Close(wire.client_id, absl::CancelledError("enough"));
  const WorkRequest work = MessageWork(wire.client_id, AsBytes("too late"));
  EXPECT_EQ(a()->transport()->Post({&work, 1}), 1u);
  ASSERT_TRUE(BothClosed(wire));
  EXPECT_TRUE(b()->messages.empty());
}

TEST_P(TransportClose, IdsAreUsedAgain) {
  for (int i = 0; i < 50; ++i) {
    const Wire wire = Connect();
    ASSERT_LT(wire.client_id, 50u);
    const WorkRequest work = MessageWork(wire.client_id, AsBytes("once"));
    ASSERT_TRUE(a()->PostAll({&work, 1}, both()));
    ASSERT_TRUE(Drive([&] { return !b()->messages.empty(); }));
    a()->transport()->Close(wire.client_id, absl::CancelledError("next"));
    ASSERT_TRUE(BothClosed(wire));
    EXPECT_EQ(b()->messages.size(), 1u);
    b()->messages.clear();
    a()->closed.clear();
    b()->closed.clear();
  }
}

// After kClosed the sender's memory is its own: what is written there afterwards is never delivered. Where payload
// leaves by page reference the peer's kernel may still hold the pages, and the rail's checksum has to tell; see
// LeavesByReference.
TEST_P(TransportClose, LentMemoryComesBack) {
  constexpr uint64_t kSize = 1 << 20;
  constexpr size_t kWorks = 32;
  for (int rounds = 0; rounds < 12; ++rounds) {
    SCOPED_TRACE(rounds);
    const Wire wire = Connect();
    Destination landing(b(), kSize);
    std::vector<std::byte> payload = PatternBytes(kSize, 3);
    std::vector<std::byte> small = PatternBytes(2000, 3);
    b()->messages.clear();
    b()->on_message = [&](const Event& event) {
      if (event.write == Event::Write::kLanded) {
        EXPECT_TRUE(LeavesByReference(a()) || PatternMismatch(landing.bytes, 3).empty());
      } else {
        EXPECT_EQ(PatternMismatch({event.data, event.data_bytes}, 3), "");
      }
    };
    std::vector<WorkRequest> batch;
    for (size_t i = 0; i < kWorks; ++i) {
      batch.push_back(i % 2 == 0 ? MessageWork(wire.client_id, {}, small)
                                 : WriteWork(wire.client_id, AsBytes("w"), payload, landing, 0));
    }
    size_t posted = 0;
    for (int i = 0; i < rounds; ++i) {
      posted += a()->transport()->Post(absl::MakeConstSpan(batch).subspan(posted));
      a()->Poll();
      b()->Poll();
    }
    a()->transport()->Close(wire.client_id, absl::CancelledError("enough"));
    TransportNode* const only_a[] = {a()};
    // The peer need not take part in it.
    ASSERT_TRUE(DriveUntil(
        only_a, [&] { return a()->closed.count(wire.client_id) > 0; }, kPatienceNs));
    std::fill(payload.begin(), payload.end(), kUntouched);
    std::fill(small.begin(), small.end(), kUntouched);
    ASSERT_TRUE(Drive([&] { return b()->closed.count(wire.server_id) > 0; }));
    a()->closed.clear();
    b()->closed.clear();
    b()->on_message = nullptr;
  }
}

// After kClosed the receiver's memory is its own too, however much was on its way.
TEST_P(TransportClose, NothingLandsAfterClosed) {
  const uint64_t size = std::min<uint64_t>(4 << 20, a()->transport()->info().write_bytes_max);
  for (int rounds = 0; rounds < 12; ++rounds) {
    SCOPED_TRACE(rounds);
    const Wire wire = Connect();
    Destination landing(b(), size);
    const std::vector<std::byte> payload = PatternBytes(size, 3);
    const std::vector<WorkRequest> batch(8, WriteWork(wire.client_id, AsBytes("w"), payload, landing, 0));
    size_t posted = 0;
    for (int i = 0; i < rounds; ++i) {
      posted += a()->transport()->Post(absl::MakeConstSpan(batch).subspan(posted));
      a()->Poll();
      b()->Poll();
    }
    b()->transport()->Close(wire.server_id, absl::CancelledError("enough"));
    TransportNode* const only_b[] = {b()};
    ASSERT_TRUE(DriveUntil(
        only_b, [&] { return b()->closed.count(wire.server_id) > 0; }, kPatienceNs));
    std::fill(landing.bytes.begin(), landing.bytes.end(), kUntouched);
    ASSERT_TRUE(Drive([&] { return a()->closed.count(wire.client_id) > 0; }));
    for (int i = 0; i < 50; ++i) {
      a()->Poll();
      b()->Poll();
    }
    EXPECT_EQ(ValueMismatch(landing.bytes, kUntouched), "");
    a()->closed.clear();
    b()->closed.clear();
  }
}

TEST_P(TransportClose, APeerThatVanishesIsAnError) {
  constexpr uint64_t kSize = 1 << 20;
  const Wire wire = Connect();
  Destination landing(b(), kSize);
  const std::vector<std::byte> payload = PatternBytes(kSize, 3);
  const std::vector<WorkRequest> batch(16, WriteWork(wire.client_id, AsBytes("w"), payload, landing, 0));
  const size_t posted = a()->transport()->Post(batch);
  a()->Poll();
  b()->Poll();
  b()->Destroy();
  (void)posted;
  ASSERT_TRUE(Drive([&] { return a()->closed.count(wire.client_id) > 0; }));
  EXPECT_EQ(a()->closed[wire.client_id].code(), absl::StatusCode::kUnavailable) << a()->closed[wire.client_id];
}

TEST_P(TransportClose, VanishingWithWorkInFlightLeavesNothingBehind) {
  const Wire wire = Connect();
  Destination landing(b(), 1 << 20);
  {
    const std::vector<std::byte> payload = PatternBytes(1 << 20, 3);
    const std::vector<WorkRequest> batch(16, WriteWork(wire.client_id, AsBytes("w"), payload, landing, 0));
    (void)a()->transport()->Post(batch);
    a()->Poll();
    a()->Destroy();
  }
  ASSERT_TRUE(Drive([&] { return b()->closed.count(wire.server_id) > 0; }));
}

TEST_P(TransportClose, VanishingWhileConnectingIsHarmless) {
  ASSERT_TRUE(a()->transport()->Connect(address(), 0, AsBytes("hi"), nullptr, Soon()).ok());
  std::unique_ptr<PendingConnection> pending = TakePending();
  ASSERT_NE(pending, nullptr);
  ASSERT_TRUE(a()->transport()->Connect(address(), 0, AsBytes("hi"), nullptr, Soon()).ok());
  a()->Poll();
  a()->Destroy();
  const auto accepted = b()->transport()->Accept(std::move(pending), {}, nullptr);
  if (accepted.ok()) {
    EXPECT_TRUE(Drive([&] { return b()->closed.count(*accepted) > 0; }));
  }
}

// A pending connection may outlive the transport that produced it.
TEST_P(TransportClose, ThePendingOutlivesItsTransport) {
  TransportNode* lane = world()->MakeLane(b());
  ASSERT_NE(lane, nullptr);
  const auto id = a()->transport()->Connect(address(), 0, AsBytes("hi"), nullptr, Soon());
  ASSERT_TRUE(id.ok());
  std::unique_ptr<PendingConnection> pending = TakePending();
  ASSERT_NE(pending, nullptr);
  b()->Destroy();
  ASSERT_TRUE(lane->transport()->Accept(std::move(pending), AsBytes("yes"), nullptr).ok());
  TransportNode* const nodes[] = {a(), lane};
  EXPECT_TRUE(DriveUntil(
      nodes, [&] { return a()->connected.count(*id) > 0; }, kPatienceNs));
}

TEST_P(TransportClose, OneOfManyGoesAlone) {
  std::vector<Wire> wires;
  for (int i = 0; i < 4; ++i) wires.push_back(Connect());
  Destination landing(b(), 1 << 20);
  const std::vector<std::byte> payload = PatternBytes(1 << 20, 3);
  std::vector<WorkRequest> batch;
  for (const Wire& wire : wires) batch.push_back(WriteWork(wire.client_id, AsBytes("w"), payload, landing, 0));
  ASSERT_TRUE(a()->PostAll(batch, both()));
  a()->transport()->Close(wires[1].client_id, absl::CancelledError("one"));
  ASSERT_TRUE(BothClosed(wires[1]));
  b()->messages.clear();
  for (const size_t i : {0u, 2u, 3u}) {
    const WorkRequest work = MessageWork(wires[i].client_id, AsBytes("alive"));
    ASSERT_TRUE(a()->PostAll({&work, 1}, both()));
  }
  EXPECT_TRUE(Drive([&] {
    size_t alive = 0;
    for (const TransportNode::Message& message : b()->messages) alive += message.bytes == "alive";
    return alive == 3;
  }));
  EXPECT_EQ(a()->closed.size(), 1u);
}

}  // namespace
}  // namespace mcp::internal
