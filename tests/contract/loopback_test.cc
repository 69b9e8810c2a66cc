// What loopback promises beyond the contract: virtual time, a modelled path, and the same events every time.
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/contract/transport_fixture.h"
#include "tests/support/seed.h"

namespace mcp::internal {
namespace {

struct Pair {
  explicit Pair(const LoopbackOptions& options) : world(TransportKind::kLoopback, std::nullopt, &clock, options) {
    a = world.MakeNode();
    b = world.MakeNode();
    const std::string address = *b->transport()->Listen("loopback:b");
    id = *a->transport()->Connect(address, 0, {}, nullptr, INT64_MAX);
    b->Poll();
    server_id = *b->transport()->Accept(std::move(b->pending.front()), {}, nullptr);
    a->Poll();
  }
  ManualClock clock{1000};
  TransportWorld world;
  TransportNode* a;
  TransportNode* b;
  ConnectionId id = 0;
  ConnectionId server_id = 0;
};

TEST(Loopback, DeliversAfterTheModelledDelay) {
  LoopbackOptions options;
  options.delay_ns = 50'000;
  Pair pair(options);
  const WorkRequest work = MessageWork(pair.id, AsBytes("later"));
  ASSERT_EQ(pair.a->transport()->Post({&work, 1}), 1u);
  pair.clock.Advance(49'999);
  pair.b->Poll();
  EXPECT_TRUE(pair.b->messages.empty());
  pair.clock.Advance(1);
  pair.b->Poll();
  EXPECT_EQ(pair.b->messages.size(), 1u);
}

TEST(Loopback, ModelsBandwidth) {
  LoopbackOptions options;
  options.bytes_per_second = 1'000'000'000;  // a byte a nanosecond
  Pair pair(options);
  const std::vector<std::byte> payload = PatternBytes(999, 1);
  const std::vector<WorkRequest> batch(10, MessageWork(pair.id, AsBytes("h"), payload));
  ASSERT_EQ(pair.a->transport()->Post(batch), batch.size());
  for (size_t i = 1; i <= batch.size(); ++i) {
    pair.clock.Advance(999);
    pair.b->Poll();
    EXPECT_EQ(pair.b->messages.size(), i - 1);
    pair.clock.Advance(1);
    pair.b->Poll();
    EXPECT_EQ(pair.b->messages.size(), i);
  }
}

TEST(Loopback, ConnectTimesOutInVirtualTime) {
  Pair pair({});
  const ConnectionId id =
      *pair.a->transport()->Connect("loopback:b", 0, {}, nullptr, pair.clock.NowNs() + 3'600'000'000'000);
  pair.clock.Advance(3'599'999'999'999);
  pair.a->Poll();
  EXPECT_EQ(pair.a->closed.count(id), 0u);
  pair.clock.Advance(1);
  pair.a->Poll();
  EXPECT_EQ(pair.a->closed[id].code(), absl::StatusCode::kDeadlineExceeded);
}

TEST(Loopback, WaitFollowsTheInjectedClock) {
  Pair pair({});
  pair.a->transport()->Wait(pair.clock.NowNs());  // has passed: must not block
  std::thread advance([&] {
    for (int i = 0; i < 1000; ++i) pair.clock.Advance(1'000'000);
  });
  pair.a->transport()->Wait(1'000'000'000);
  EXPECT_GE(pair.clock.NowNs(), 1'000'000'000);
  advance.join();
}

TEST(Loopback, NetworksDoNotMeet) {
  ManualClock clock;
  TransportWorld one(TransportKind::kLoopback, std::nullopt, &clock);
  TransportWorld two(TransportKind::kLoopback, std::nullopt, &clock);
  ASSERT_TRUE(one.MakeNode()->transport()->Listen("loopback:here").ok());
  TransportNode* stranger = two.MakeNode();
  const ConnectionId id = *stranger->transport()->Connect("loopback:here", 0, {}, nullptr, INT64_MAX);
  stranger->Poll();
  EXPECT_EQ(stranger->closed[id].code(), absl::StatusCode::kUnavailable);
}

TEST(Loopback, HasRoomForSoManyConnections) {
  ManualClock clock;
  LoopbackOptions options;
  options.connections_max = 3;
  TransportWorld world(TransportKind::kLoopback, std::nullopt, &clock, options);
  TransportNode* node = world.MakeNode();
  ASSERT_TRUE(world.MakeNode()->transport()->Listen("loopback:full").ok());
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(node->transport()->Connect("loopback:full", 0, {}, nullptr, INT64_MAX).ok());
  EXPECT_EQ(node->transport()->Connect("loopback:full", 0, {}, nullptr, INT64_MAX).status().code(),
            absl::StatusCode::kResourceExhausted);
}

// A run of posts and polls, as text: every event in its order.
std::string Trace(uint64_t seed) {
  LoopbackOptions options;
  options.delay_ns = 700;
  Pair pair(options);
  Random random(seed);
  std::string trace;
  uint64_t number = 0;
  TransportNode* const sides[] = {pair.a, pair.b};
  const ConnectionId ids[] = {pair.id, pair.server_id};
  for (size_t s = 0; s < 2; ++s) {
    sides[s]->on_message = [&trace, s, &pair](const Event& event) {
      absl::StrAppend(&trace, s, "@", pair.clock.NowNs(), ":",
                      absl::string_view(reinterpret_cast<const char*>(event.data), event.data_bytes), " ");
    };
  }
  for (int step = 0; step < 3000; ++step) {
    const size_t s = random.Below(2);
    if (random.Below(2) == 0) {
      const std::string text = absl::StrCat(number++);
      const WorkRequest work = MessageWork(ids[s], AsBytes(text));
      absl::StrAppend(&trace, sides[s]->transport()->Post({&work, 1}) == 1 ? "" : "refused ");
    } else {
      sides[s]->Poll();
      pair.clock.Advance(static_cast<int64_t>(random.Below(300)));
    }
  }
  return trace;
}

TEST(Loopback, TheSameCallsGiveTheSameEvents) {
  const uint64_t seed = TestSeed(1);
  SCOPED_TRACE(SeedNote(seed));
  EXPECT_EQ(Trace(seed), Trace(seed));
  EXPECT_NE(Trace(seed), Trace(seed + 1));
}

}  // namespace
}  // namespace mcp::internal
