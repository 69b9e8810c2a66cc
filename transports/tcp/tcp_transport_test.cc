// The transport over real sockets of this host, on both kinds of I/O, IPv4 and IPv6.
#include "transports/tcp/tcp_transport.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "absl/strings/str_cat.h"
#include "transports/tcp/tcp_test_support.h"

namespace mcp::internal {
namespace {

using ::testing::HasSubstr;

INSTANTIATE_TEST_SUITE_P(Io, TcpTransportTest, ::testing::ValuesIn(AllVariants()), VariantName);

TEST_P(TcpTransportTest, ConnectsOverIpv4AndIpv6) {
  for (const char* host : {"127.0.0.1", "[::1]", "localhost"}) {
    TestPair pair(config_);
    pair.ConnectPair(host);
    const ConnectionDescription client = pair.client.transport().Describe(pair.client_id);
    const ConnectionDescription server = pair.server.transport().Describe(pair.server_id);
    EXPECT_EQ(client.remote_address, pair.address);
    EXPECT_EQ(client.local_address, server.remote_address);
    EXPECT_EQ(server.local_address, pair.address);
    EXPECT_THAT(client.notes, ::testing::Contains(HasSubstr("congestion control")));
    EXPECT_GT(pair.client.transport().Statistics(pair.client_id).rtt_ns, 0u);
    EXPECT_LT(pair.client.transport().MemoryBytes(pair.client_id), 8192u);
  }
}

TEST_P(TcpTransportTest, DeliversMessagesInOrderBothWays) {
  TestPair pair(config_);
  pair.ConnectPair();
  constexpr int kMessages = 5000;
  std::vector<std::string> sent;
  Random random(42);
  for (int i = 0; i < kMessages; ++i) {
    sent.push_back(Pattern(random.Below(10) == 0 ? random.Below(60000) : random.Below(300), random.Next()));
  }
  size_t posted[2] = {0, 0};
  const std::string header = "head";
  const auto post = [&](TestLane& lane, ConnectionId id, size_t& next) {
    while (next < sent.size() && lane.transport().Post({TestPair::Message(id, header, sent[next])}) == 1) {
      ++next;
    }
  };
  ASSERT_TRUE(pair.Until(
      [&] {
        post(pair.client, pair.client_id, posted[0]);
        post(pair.server, pair.server_id, posted[1]);
        return pair.client.seen().size() == sent.size() && pair.server.seen().size() == sent.size();
      },
      /*events_max=*/7));
  for (TestLane* lane : {&pair.client, &pair.server}) {
    for (size_t i = 0; i < sent.size(); ++i) {
      ASSERT_EQ(lane->seen()[i].kind, Event::Kind::kMessage) << lane->seen()[i].status;
      ASSERT_EQ(lane->seen()[i].data, header + sent[i]) << i;
      ASSERT_EQ(lane->seen()[i].context, lane);
    }
  }
}

TEST_P(TcpTransportTest, PlacesWritesBeforeTheirMessages) {
  TestPair pair(config_);
  pair.ConnectPair();
  constexpr size_t kRegionBytes = 8 << 20;
  std::string region(kRegionBytes, 'x');
  auto key = pair.server.regions().Insert(reinterpret_cast<std::byte*>(region.data()), region.size(),
                                          kAccessRemoteWrite, nullptr);
  ASSERT_TRUE(key.ok());
  const std::string payload = Pattern(kRegionBytes, 7);
  std::string expected(kRegionBytes, 'x');
  Random random(9);
  // Writes of every size class, with messages between them that must keep their place.
  struct Item {
    std::string header;
    size_t offset;
    size_t bytes;
  };
  std::vector<Item> items;
  for (size_t offset = 0; offset < kRegionBytes;) {
    constexpr size_t kSizes[] = {0, 1, 100, 4096, 65536, 100000, 1 << 20};
    const size_t bytes = std::min(kSizes[random.Below(7)], kRegionBytes - offset);
    items.push_back({absl::StrCat("write ", items.size()), offset, bytes});
    offset += bytes;
    if (random.Below(3) == 0) items.push_back({absl::StrCat("message ", items.size()), 0, ~size_t{0}});
  }
  size_t next = 0;
  size_t sent_wanted = 0;
  ASSERT_TRUE(pair.Until(
      [&] {
        for (; next < items.size(); ++next) {
          const Item& item = items[next];
          WorkRequest work = TestPair::Message(pair.client_id, item.header, "");
          if (item.bytes != ~size_t{0}) {
            work.kind = WorkRequest::Kind::kWrite;
            work.payload = reinterpret_cast<const std::byte*>(payload.data()) + item.offset;
            work.payload_bytes = item.bytes;
            work.key = *key;
            work.offset = item.offset;
            work.signaled = next % 5 == 0;
            work.work_id = next;
          }
          if (pair.client.transport().Post({work}) == 0) break;
          sent_wanted += work.signaled;
        }
        return pair.server.seen().size() == items.size() && pair.client.CountOf(Event::Kind::kSent) == sent_wanted;
      },
      /*events_max=*/5));
  for (size_t i = 0; i < items.size(); ++i) {
    EXPECT_EQ(pair.server.seen()[i].data, items[i].header);
    EXPECT_EQ(pair.server.seen()[i].write, items[i].bytes == ~size_t{0} ? Event::Write::kNone : Event::Write::kLanded);
  }
  EXPECT_TRUE(region == payload);
}

TEST_P(TcpTransportTest, MessagesWaitForWritesUnlessTheyMayOvertake) {
  TestPair pair(config_);
  pair.ConnectPair();
  std::string region(1 << 20, 'x');
  auto key = pair.server.regions().Insert(reinterpret_cast<std::byte*>(region.data()), region.size(),
                                          kAccessRemoteWrite, nullptr);
  const std::string payload = Pattern(1 << 20, 3);
  const std::string names[] = {"first", "behind", "ahead"};
  WorkRequest works[3] = {TestPair::Write(pair.client_id, names[0], payload, *key, 0),
                          TestPair::Message(pair.client_id, names[1], ""),
                          TestPair::Message(pair.client_id, names[2], "")};
  works[2].may_overtake = true;
  ASSERT_EQ(pair.client.transport().Post(works), 3u);
  ASSERT_TRUE(pair.Until([&] { return pair.server.seen().size() == 3; }));
  std::vector<std::string> order;
  for (const SeenEvent& event : pair.server.seen()) order.push_back(event.data);
  // "ahead" may come anywhere; the other two keep their order.
  order.erase(std::find(order.begin(), order.end(), "ahead"));
  EXPECT_EQ(order, (std::vector<std::string>{"first", "behind"}));
}

TEST_P(TcpTransportTest, DiscardsWritesToMemoryTakenBack) {
  TestPair pair(config_);
  pair.ConnectPair();
  std::string region(1 << 20, 'x');
  auto key = pair.server.regions().Insert(reinterpret_cast<std::byte*>(region.data()), region.size(),
                                          kAccessRemoteWrite, nullptr);
  ASSERT_TRUE(pair.server.regions().Invalidate(*key));
  const std::string payload = Pattern(1 << 20, 3);
  const std::string header = "late";
  const std::string after = "after";
  ASSERT_EQ(pair.client.transport().Post({TestPair::Write(pair.client_id, header, payload, *key, 0),
                                          TestPair::Message(pair.client_id, after, "")}),
            2u);
  ASSERT_TRUE(pair.Until([&] { return pair.server.seen().size() == 2; }));
  EXPECT_EQ(pair.server.seen()[0].write, Event::Write::kStale);
  EXPECT_EQ(pair.server.seen()[0].data, header);
  EXPECT_EQ(pair.server.seen()[1].data, after);
  EXPECT_EQ(region, std::string(1 << 20, 'x'));
}

TEST_P(TcpTransportTest, StopsTouchingMemoryThatIsTakenBackMidWrite) {
  TestPair pair(config_);
  pair.ConnectPair();
  constexpr size_t kBytes = 64 << 20;
  std::string region(kBytes, 'x');
  std::string other(1 << 20, 'x');
  auto key = pair.server.regions().Insert(reinterpret_cast<std::byte*>(region.data()), region.size(),
                                          kAccessRemoteWrite, nullptr);
  auto other_key = pair.server.regions().Insert(reinterpret_cast<std::byte*>(other.data()), other.size(),
                                                kAccessRemoteWrite, nullptr);
  const std::string payload = Pattern(kBytes, 3);
  const std::string other_payload = Pattern(1 << 20, 4);
  const std::string headers[] = {"large", "other"};
  ASSERT_EQ(pair.client.transport().Post({TestPair::Write(pair.client_id, headers[0], payload, *key, 0),
                                          TestPair::Write(pair.client_id, headers[1], other_payload, *other_key, 0)}),
            2u);
  // Until some of it has arrived, but not all.
  ASSERT_TRUE(
      pair.Until([&] { return region[0] == payload[0] && region[1] == payload[1] && region[2] == payload[2]; }));
  ASSERT_TRUE(pair.server.seen().empty());
  ASSERT_TRUE(pair.server.regions().Invalidate(*key));
  ASSERT_TRUE(pair.Until([&] { return pair.server.regions().Settled(*key); }));
  const std::string frozen = region;
  ASSERT_TRUE(pair.Until([&] { return pair.server.seen().size() == 2; }));
  EXPECT_TRUE(region == frozen);
  EXPECT_EQ(pair.server.seen()[0].write, Event::Write::kStale);
  EXPECT_EQ(pair.server.seen()[1].write, Event::Write::kLanded);
  EXPECT_TRUE(other == other_payload);
}

TEST_P(TcpTransportTest, RefusesWritesOutsideTheRegion) {
  TestPair pair(config_);
  pair.ConnectPair();
  std::string region(4096, 'x');
  auto key =
      pair.server.regions().Insert(reinterpret_cast<std::byte*>(region.data()), 2048, kAccessRemoteWrite, nullptr);
  const std::string payload(1024, 'y');
  const std::string names[] = {"good", "bad", "never"};
  ASSERT_EQ(pair.client.transport().Post({TestPair::Write(pair.client_id, names[0], payload, *key, 0),
                                          TestPair::Write(pair.client_id, names[1], payload, *key, 1025),
                                          TestPair::Message(pair.client_id, names[2], "")}),
            3u);
  ASSERT_TRUE(pair.Until([&] { return pair.server.seen().size() == 2; }));
  EXPECT_EQ(pair.server.seen()[0].write, Event::Write::kLanded);
  EXPECT_EQ(pair.server.seen()[1].write, Event::Write::kRefused);
  EXPECT_FALSE(pair.server.seen()[1].status.ok());
  pair.server.transport().Close(pair.server_id, pair.server.seen()[1].status);
  ASSERT_TRUE(pair.Until([&] { return !pair.client.seen().empty() && pair.server.seen().size() == 3; }));
  EXPECT_EQ(pair.server.seen()[2].kind, Event::Kind::kClosed);
  EXPECT_EQ(pair.client.seen()[0].kind, Event::Kind::kClosed);
  // The peer is told the reason.
  EXPECT_EQ(pair.client.seen()[0].status.message(), pair.server.seen()[1].status.message());
  EXPECT_EQ(region, std::string(1024, 'y') + std::string(3072, 'x'));
}

TEST_P(TcpTransportTest, ClosesOnceAndReusesIds) {
  TestPair pair(config_);
  pair.ConnectPair();
  for (int round = 0; round < 3; ++round) {
    pair.client.transport().Close(pair.client_id, absl::UnavailableError("enough"));
    pair.client.transport().Close(pair.client_id, absl::UnavailableError("twice"));
    ASSERT_TRUE(pair.Until([&] { return !pair.client.seen().empty() && !pair.server.seen().empty(); }));
    EXPECT_EQ(pair.client.seen()[0].kind, Event::Kind::kClosed);
    EXPECT_EQ(pair.client.seen()[0].status, absl::UnavailableError("enough"));
    EXPECT_EQ(pair.server.seen()[0].status, absl::UnavailableError("enough"));
    EXPECT_EQ(pair.client.seen().size(), 1u);
    pair.client.seen().clear();
    pair.server.seen().clear();
    const ConnectionId before = pair.client_id;
    pair.ConnectPair();
    EXPECT_EQ(pair.client_id, before);
  }
}

TEST_P(TcpTransportTest, ClosesInTheMiddleOfEverything) {
  for (int round = 0; round < 20; ++round) {
    TestPair pair(config_);
    pair.ConnectPair();
    std::string region(4 << 20, 'x');
    auto key = pair.server.regions().Insert(reinterpret_cast<std::byte*>(region.data()), region.size(),
                                            kAccessRemoteWrite, nullptr);
    const std::string payload = Pattern(4 << 20, 3);
    const std::string header = "h";
    for (int i = 0; i < 50; ++i) {
      pair.client.transport().Post({TestPair::Write(pair.client_id, header, payload, *key, 0),
                                    TestPair::Message(pair.client_id, header, header)});
    }
    for (int i = 0; i < round * 3; ++i) {
      pair.client.Round();
      pair.server.Round();
    }
    TestLane& closer = round % 2 == 0 ? pair.client : pair.server;
    closer.transport().Close(round % 2 == 0 ? pair.client_id : pair.server_id, absl::CancelledError("now"));
    ASSERT_TRUE(pair.Until([&] {
      return pair.client.CountOf(Event::Kind::kClosed) == 1 && pair.server.CountOf(Event::Kind::kClosed) == 1;
    }));
    ASSERT_TRUE(pair.server.regions().Invalidate(*key));
    ASSERT_TRUE(pair.Until([&] { return pair.server.regions().Settled(*key); }));
  }
}

TEST_P(TcpTransportTest, RefusalReachesThePeer) {
  TestPair pair(config_);
  auto bound = pair.server.transport().Listen("127.0.0.1:0");
  ASSERT_TRUE(bound.ok());
  for (const bool told : {true, false}) {
    auto id = pair.client.transport().Connect(*bound, 0, {}, nullptr, pair.client.now_ns() + 5'000'000'000);
    ASSERT_TRUE(id.ok());
    ASSERT_TRUE(pair.Until([&] { return !pair.server.pending().empty(); }));
    if (told) pair.server.pending()[0]->Refuse("no room");
    pair.server.pending().clear();
    ASSERT_TRUE(pair.Until([&] { return !pair.client.seen().empty(); }));
    EXPECT_EQ(pair.client.seen()[0].kind, Event::Kind::kClosed);
    EXPECT_THAT(std::string(pair.client.seen()[0].status.message()), HasSubstr(told ? "no room" : "closed"));
    pair.client.seen().clear();
  }
}

TEST_P(TcpTransportTest, ConnectEndsWhenNobodyListensOrAnswers) {
  TestPair pair(config_);
  auto bound = pair.server.transport().Listen("127.0.0.1:0");
  ASSERT_TRUE(bound.ok());
  const std::string address = *bound;
  // Accepted by the kernel, never answered.
  auto silent = pair.client.transport().Connect(address, 0, {}, nullptr, pair.client.now_ns() + 50'000'000);
  ASSERT_TRUE(silent.ok());
  ASSERT_TRUE(pair.Until([&] { return !pair.client.seen().empty(); }));
  EXPECT_EQ(pair.client.seen()[0].status.code(), absl::StatusCode::kDeadlineExceeded);
  pair.client.seen().clear();
  pair.server.pending().clear();
  pair.server.transport().StopListening(address);
  ASSERT_TRUE(pair.Until([&] { return pair.server.Round() == 0; }));
  auto nobody = pair.client.transport().Connect(address, 0, {}, nullptr, pair.client.now_ns() + 5'000'000'000);
  ASSERT_TRUE(nobody.ok());
  ASSERT_TRUE(pair.Until([&] { return !pair.client.seen().empty(); }));
  EXPECT_EQ(pair.client.seen()[0].kind, Event::Kind::kClosed);
  EXPECT_THAT(std::string(pair.client.seen()[0].status.message()), HasSubstr(address));
  EXPECT_FALSE(pair.client.transport().Connect("no port", 0, {}, nullptr, 0).ok());
}

TEST_P(TcpTransportTest, PendingConnectionsMoveBetweenTransports) {
  TestPair pair(config_);
  auto bound = pair.server.transport().Listen("127.0.0.1:0");
  ASSERT_TRUE(bound.ok());
  TestLane third(config_, 2);
  auto id = pair.client.transport().Connect(*bound, 0, {}, nullptr, pair.client.now_ns() + 5'000'000'000);
  ASSERT_TRUE(pair.Until([&] { return !pair.server.pending().empty(); }));
  auto accepted = third.transport().Accept(std::move(pair.server.pending()[0]), {}, nullptr);
  ASSERT_TRUE(accepted.ok()) << accepted.status();
  const std::string text = "to the third";
  ASSERT_EQ(third.transport().Post({TestPair::Message(*accepted, text, "")}), 1u);
  ASSERT_TRUE(pair.Until([&] {
    third.Round();
    return pair.client.seen().size() == 2;
  }));
  EXPECT_EQ(pair.client.seen()[1].data, text);
}

TEST_P(TcpTransportTest, WakeEndsAWait) {
  TestLane lane(config_, 0);
  lane.Round();
  lane.transport().Wake();
  lane.transport().Wait(lane.now_ns() + 60'000'000'000);  // a Wake that came before
  std::thread waker([&] { lane.transport().Wake(); });
  lane.transport().Wait(lane.now_ns() + 60'000'000'000);
  waker.join();
  // Otherwise it lasts, but for the odd one that a late Wake or a signal ends early.
  const int64_t deadline_ns = lane.now_ns() + 5'000'000;
  int waits = 0;
  for (; lane.now_ns() < deadline_ns; ++waits) {
    lane.Round();
    lane.transport().Wait(deadline_ns);
  }
  EXPECT_LT(waits, 10);
}

// More than there are receive buffers, all at once.
TEST_P(TcpTransportTest, ManyConnectionsShareALane) {
  constexpr uint32_t kConnections = 150;
  constexpr int kMessagesEach = 20;
  TestPair pair(config_);
  pair.ConnectPair();
  std::vector<ConnectionId> ids = {pair.client_id};
  for (uint32_t i = 1; i < kConnections; ++i) {
    auto id = pair.client.transport().Connect(pair.address, 0, {}, nullptr, pair.client.now_ns() + 5'000'000'000);
    ASSERT_TRUE(id.ok()) << id.status();
    ids.push_back(*id);
  }
  size_t accepted = 1;
  ASSERT_TRUE(pair.Until([&] {
    for (auto& pending : pair.server.pending()) {
      EXPECT_TRUE(pair.server.transport().Accept(std::move(pending), {}, nullptr).ok());
      ++accepted;
    }
    pair.server.pending().clear();
    return accepted == kConnections && pair.client.CountOf(Event::Kind::kConnected) == kConnections - 1;
  }));
  std::string region(1 << 20, 'x');
  auto key = pair.server.regions().Insert(reinterpret_cast<std::byte*>(region.data()), region.size(),
                                          kAccessRemoteWrite, nullptr);
  const std::string payload = Pattern(4096, 5);
  for (int message = 0; message < kMessagesEach; ++message) {
    for (const ConnectionId id : ids) {
      const std::string text = absl::StrCat(message);
      WorkRequest work = TestPair::Message(id, text, payload);
      if (message % 2 == 1) work = TestPair::Write(id, text, payload, *key, id * 4096);
      ASSERT_EQ(pair.client.transport().Post({work}), 1u);
    }
  }
  ASSERT_TRUE(pair.Until([&] { return pair.server.seen().size() == kConnections * kMessagesEach; }));
  std::vector<int> next(kConnections, 0);
  for (const SeenEvent& event : pair.server.seen()) {
    const int expected = next[event.connection]++;
    EXPECT_EQ(event.data, expected % 2 == 0 ? absl::StrCat(expected) + payload : absl::StrCat(expected));
  }
  for (const ConnectionId id : ids) EXPECT_LT(pair.client.transport().MemoryBytes(id), 8192u);
}

// Events that are always full must not be one connection's alone.
TEST_P(TcpTransportTest, ABusyConnectionLeavesRoomForOthers) {
  TestPair pair(config_);
  pair.ConnectPair();
  const ConnectionId busy = pair.server_id;
  const ConnectionId busy_client = pair.client_id;
  pair.ConnectPair("[::1]");
  const std::string text = "x";
  constexpr size_t kFlood = 5000;
  for (size_t i = 0; i < kFlood; ++i) {
    ASSERT_EQ(pair.client.transport().Post({TestPair::Message(busy_client, text, "")}), 1u);
  }
  ASSERT_EQ(pair.client.transport().Post({TestPair::Message(pair.client_id, text, "")}), 1u);
  ASSERT_TRUE(pair.Until([&] { return pair.server.seen().size() >= kFlood + 1; }, /*events_max=*/2));
  size_t before = 0;
  while (pair.server.seen()[before].connection == busy) ++before;
  EXPECT_LT(before, kFlood / 2);
}

}  // namespace
}  // namespace mcp::internal
