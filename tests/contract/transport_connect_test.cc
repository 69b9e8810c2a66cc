// Connecting, accepting, refusing, listening.
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/contract/transport_fixture.h"

namespace mcp::internal {
namespace {

class TransportConnect : public TransportContract {};

INSTANTIATE_TEST_SUITE_P(Every, TransportConnect, testing::ValuesIn(AllTransportCases()), TransportCaseName);

std::string Text(absl::Span<const std::byte> bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

TEST_P(TransportConnect, InfoIsUsable) {
  const TransportInfo& info = a()->transport()->info();
  EXPECT_FALSE(info.name.empty());
  EXPECT_FALSE(info.device.empty());
  EXPECT_GE(info.message_bytes_max, info.eager_bytes_max);
  EXPECT_GT(info.message_bytes_max, kHeaderBytesMax);
  EXPECT_GE(info.write_bytes_max, 1u << 20);
  EXPECT_GT(info.eager_bytes_max, 0u);
}

TEST_P(TransportConnect, ExchangesHellosAndContexts) {
  int mine = 0;
  const auto id = a()->transport()->Connect(address(), 0, AsBytes("who I am"), &mine, Soon());
  ASSERT_TRUE(id.ok()) << id.status();
  std::unique_ptr<PendingConnection> pending = TakePending();
  ASSERT_NE(pending, nullptr);
  EXPECT_EQ(Text(pending->hello()), "who I am");
  EXPECT_FALSE(pending->remote_address().empty());
  EXPECT_EQ(pending->listener_address(), address());
  ASSERT_TRUE(b()->transport()->Accept(std::move(pending), AsBytes("come in"), nullptr).ok());
  ASSERT_TRUE(Drive([&] { return a()->connected.count(*id) > 0; }));
  EXPECT_EQ(a()->connected[*id], "come in");
  EXPECT_EQ(a()->contexts[*id], &mine);
}

TEST_P(TransportConnect, CarriesEmptyAndLongestHellos) {
  for (const size_t size : {size_t{0}, size_t{1}, size_t{kHelloBytesMax}}) {
    SCOPED_TRACE(size);
    const std::vector<std::byte> hello = PatternBytes(size, 1);
    const std::vector<std::byte> reply = PatternBytes(size, 2);
    const auto id = a()->transport()->Connect(address(), 0, hello, nullptr, Soon());
    ASSERT_TRUE(id.ok()) << id.status();
    std::unique_ptr<PendingConnection> pending = TakePending();
    ASSERT_NE(pending, nullptr);
    EXPECT_EQ(pending->hello(), absl::MakeConstSpan(hello));
    ASSERT_TRUE(b()->transport()->Accept(std::move(pending), reply, nullptr).ok());
    ASSERT_TRUE(Drive([&] { return a()->connected.count(*id) > 0; }));
    EXPECT_EQ(AsBytes(a()->connected[*id]), absl::MakeConstSpan(reply));
  }
}

TEST_P(TransportConnect, RefusesTooLongAHello) {
  const std::vector<std::byte> hello = PatternBytes(kHelloBytesMax + 1, 1);
  EXPECT_EQ(a()->transport()->Connect(address(), 0, hello, nullptr, Soon()).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_P(TransportConnect, NamesAnAddressItCannotRead) {
  for (const absl::string_view bad : {"", "nonsense", "127.0.0.1:notaport"}) {
    const auto id = a()->transport()->Connect(bad, 0, {}, nullptr, Soon());
    EXPECT_FALSE(id.ok()) << bad;
    EXPECT_TRUE(absl::StrContains(id.status().message(), bad)) << id.status();
    EXPECT_FALSE(b()->transport()->Listen("nonsense:notaport:1").ok());
  }
}

TEST_P(TransportConnect, ClosesWhenNobodyListens) {
  b()->transport()->StopListening(address());
  int mine = 0;
  const auto id = a()->transport()->Connect(address(), 0, {}, &mine, Soon());
  ASSERT_TRUE(id.ok()) << id.status();
  ASSERT_TRUE(Drive([&] { return a()->closed.count(*id) > 0; }));
  EXPECT_EQ(a()->closed[*id].code(), absl::StatusCode::kUnavailable) << a()->closed[*id];
  EXPECT_EQ(a()->closed_contexts.back(), &mine);
}

TEST_P(TransportConnect, SaysWhyItRefuses) {
  const auto id = a()->transport()->Connect(address(), 0, AsBytes("hi"), nullptr, Soon());
  ASSERT_TRUE(id.ok()) << id.status();
  std::unique_ptr<PendingConnection> pending = TakePending();
  ASSERT_NE(pending, nullptr);
  pending->Refuse("no strangers today");
  pending.reset();
  ASSERT_TRUE(Drive([&] { return a()->closed.count(*id) > 0; }));
  EXPECT_EQ(a()->closed[*id].code(), absl::StatusCode::kUnavailable) << a()->closed[*id];
  EXPECT_TRUE(absl::StrContains(a()->closed[*id].message(), "no strangers today")) << a()->closed[*id];
}

TEST_P(TransportConnect, RefusesByDropping) {
  const auto id = a()->transport()->Connect(address(), 0, AsBytes("hi"), nullptr, Soon());
  ASSERT_TRUE(id.ok()) << id.status();
  ASSERT_NE(TakePending(), nullptr);
  ASSERT_TRUE(Drive([&] { return a()->closed.count(*id) > 0; }));
  EXPECT_EQ(a()->closed[*id].code(), absl::StatusCode::kUnavailable) << a()->closed[*id];
}

TEST_P(TransportConnect, GivesUpAtTheDeadline) {
  constexpr int64_t kLimitNs = 30'000'000;
  const int64_t start_ns = clock()->NowNs();
  const auto id = a()->transport()->Connect(address(), 0, AsBytes("hi"), nullptr, start_ns + kLimitNs);
  ASSERT_TRUE(id.ok()) << id.status();
  ASSERT_TRUE(Drive([&] { return a()->closed.count(*id) > 0; }));
  EXPECT_EQ(a()->closed[*id].code(), absl::StatusCode::kDeadlineExceeded) << a()->closed[*id];
  EXPECT_GE(clock()->NowNs() - start_ns, kLimitNs);
}

TEST_P(TransportConnect, TheConnectingSideMayGiveUp) {
  const auto id = a()->transport()->Connect(address(), 0, AsBytes("hi"), nullptr, Soon());
  ASSERT_TRUE(id.ok()) << id.status();
  std::unique_ptr<PendingConnection> pending = TakePending();
  ASSERT_NE(pending, nullptr);
  a()->transport()->Close(*id, absl::CancelledError("changed my mind"));
  ASSERT_TRUE(Drive([&] { return a()->closed.count(*id) > 0; }));
  EXPECT_EQ(a()->closed[*id].code(), absl::StatusCode::kCancelled);
  // The other side may not know yet: an error now, or a connection that closes.
  const auto accepted = b()->transport()->Accept(std::move(pending), {}, nullptr);
  if (!accepted.ok()) return;
  EXPECT_TRUE(Drive([&] { return b()->closed.count(*accepted) > 0; }));
}

TEST_P(TransportConnect, AcceptsOnAnotherLane) {
  TransportNode* lane = world()->MakeLane(b());
  ASSERT_NE(lane, nullptr);
  const Wire wire = Connect(a(), lane);
  const WorkRequest work = MessageWork(wire.client_id, AsBytes("to the other lane"));
  ASSERT_EQ(a()->transport()->Post({&work, 1}), 1u);
  TransportNode* const nodes[] = {a(), b(), lane};
  ASSERT_TRUE(DriveUntil(
      nodes, [&] { return !lane->messages.empty(); }, kPatienceNs));
  EXPECT_EQ(lane->messages.front().bytes, "to the other lane");
  EXPECT_TRUE(b()->messages.empty());
}

TEST_P(TransportConnect, OneListenerAnAddress) {
  EXPECT_FALSE(a()->transport()->Listen(address()).ok());
  b()->transport()->StopListening(address());
  const auto again = a()->transport()->Listen(address());
  EXPECT_TRUE(again.ok()) << again.status();
}

// The listener's side looks nowhere until it stops listening.
TEST_P(TransportConnect, StopListeningForgetsACallerThatHasLeft) {
  const auto id = a()->transport()->Connect(address(), 0, AsBytes("hi"), nullptr, Soon());
  ASSERT_TRUE(id.ok()) << id.status();
  TransportNode* const caller[] = {a()};
  DriveQuietly(caller);
  a()->transport()->Close(*id, absl::CancelledError("changed my mind"));
  ASSERT_TRUE(DriveUntil(
      caller, [&] { return a()->closed.count(*id) > 0; }, kPatienceNs));
  b()->transport()->StopListening(address());
  DriveAWhile();
  EXPECT_TRUE(b()->pending.empty());
}

TEST_P(TransportConnect, StopListeningLeavesConnectionsAlone) {
  const Wire wire = Connect();
  b()->transport()->StopListening(address());
  const WorkRequest work = MessageWork(wire.server_id, AsBytes("still here"));
  ASSERT_EQ(b()->transport()->Post({&work, 1}), 1u);
  ASSERT_TRUE(Drive([&] { return !a()->messages.empty(); }));
  EXPECT_EQ(a()->messages.front().bytes, "still here");
}

TEST_P(TransportConnect, DescribesBothEnds) {
  const Wire wire = Connect();
  const ConnectionDescription mine = a()->transport()->Describe(wire.client_id);
  const ConnectionDescription theirs = b()->transport()->Describe(wire.server_id);
  EXPECT_FALSE(mine.local_address.empty());
  EXPECT_EQ(mine.remote_address, address());
  EXPECT_EQ(theirs.remote_address, mine.local_address);
  EXPECT_GT(a()->transport()->MemoryBytes(wire.client_id), 0u);
  (void)a()->transport()->Statistics(wire.client_id);
}

TEST_P(TransportConnect, ConnectsOverIpv6) {
  if (GetParam().kind == TransportKind::kLoopback) GTEST_SKIP() << "loopback has no IP";
  const bool device = GetParam().kind == TransportKind::kVerbs;
  const std::string any = device ? VerbsDeviceAddress(true) : "[::1]:0";
  if (any.empty()) GTEST_SKIP() << "the device has no routable IPv6 address";
  const auto bound = b()->transport()->Listen(any);
  if (!bound.ok()) GTEST_SKIP() << "this host has no IPv6 loopback: " << bound.status();
  EXPECT_TRUE(absl::StartsWith(*bound, any.substr(0, any.size() - 1))) << *bound;
  const auto id = a()->transport()->Connect(*bound, 0, AsBytes("six"), nullptr, Soon());
  ASSERT_TRUE(id.ok()) << id.status();
  std::unique_ptr<PendingConnection> pending = TakePending();
  ASSERT_NE(pending, nullptr);
  EXPECT_EQ(Text(pending->hello()), "six");
  ASSERT_TRUE(b()->transport()->Accept(std::move(pending), {}, nullptr).ok());
  EXPECT_TRUE(Drive([&] { return a()->connected.count(*id) > 0; }));
}

TEST_P(TransportConnect, ManyConnectionsKeepApart) {
  constexpr size_t kConnections = 200;
  std::vector<int> contexts(kConnections);
  std::vector<Wire> wires;
  std::set<ConnectionId> ids;
  for (size_t i = 0; i < kConnections; ++i) {
    wires.push_back(Connect(a(), b(), nullptr, &contexts[i]));
    EXPECT_TRUE(ids.insert(wires.back().client_id).second) << "an id of a live connection was given again";
  }
  for (const Wire& wire : wires) {
    const std::string text = absl::StrCat("from ", wire.client_id);
    const WorkRequest work = MessageWork(wire.client_id, AsBytes(text));
    ASSERT_TRUE(a()->PostAll({&work, 1}, both()));
  }
  ASSERT_TRUE(Drive([&] { return b()->messages.size() == kConnections; }));
  for (const TransportNode::Message& message : b()->messages) {
    const size_t i = static_cast<size_t>(static_cast<int*>(message.context) - contexts.data());
    ASSERT_LT(i, kConnections);
    EXPECT_EQ(message.connection, wires[i].server_id);
    EXPECT_EQ(message.bytes, absl::StrCat("from ", wires[i].client_id));
  }
  // Every second one goes; the others do not notice.
  for (size_t i = 0; i < kConnections; i += 2)
    a()->transport()->Close(wires[i].client_id, absl::CancelledError("done"));
  ASSERT_TRUE(Drive([&] { return a()->closed.size() == kConnections / 2 && b()->closed.size() == kConnections / 2; }));
  b()->messages.clear();
  for (size_t i = 1; i < kConnections; i += 2) {
    const WorkRequest work = MessageWork(wires[i].client_id, AsBytes("again"));
    ASSERT_TRUE(a()->PostAll({&work, 1}, both()));
  }
  EXPECT_TRUE(Drive([&] { return b()->messages.size() == kConnections / 2; }));
  EXPECT_EQ(a()->closed.size(), kConnections / 2);
}

}  // namespace
}  // namespace mcp::internal
