// Messages: whole, once, in order; back-pressure; what is lent and for how long.
#include <algorithm>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "lib/base/random.h"
#include "tests/contract/transport_fixture.h"

namespace mcp::internal {
namespace {

class TransportMessage : public TransportContract {};

INSTANTIATE_TEST_SUITE_P(Every, TransportMessage, testing::ValuesIn(AllTransportCases()), TransportCaseName);

TEST_P(TransportMessage, ArrivesWholeOnceInOrder) {
  constexpr uint64_t kMessages = 2000;
  const Wire wire = Connect();
  Random random(1);
  const uint32_t most = a()->transport()->info().eager_bytes_max;
  const std::vector<std::byte> source = PatternBytes(most, 7);
  std::vector<uint64_t> sizes;
  b()->keep_messages = false;
  uint64_t arrived = 0;
  b()->on_message = [&](const Event& event) {
    ASSERT_LT(arrived, sizes.size());
    ASSERT_EQ(event.connection, wire.server_id);
    ASSERT_EQ(event.write, Event::Write::kNone);
    ASSERT_EQ(event.data_bytes, sizeof(uint64_t) + sizes[arrived]);
    uint64_t number;
    std::memcpy(&number, event.data, sizeof(number));
    ASSERT_EQ(number, arrived);
    ASSERT_EQ(std::memcmp(event.data + sizeof(number), source.data(), sizes[arrived]), 0);
    ++arrived;
  };
  for (uint64_t i = 0; i < kMessages; ++i) {
    // Mostly small, some as large as eager payload gets.
    sizes.push_back(random.Below(4) == 0 ? random.Below(most + 1) : random.Below(64));
    const WorkRequest work = MessageWork(wire.client_id, {reinterpret_cast<const std::byte*>(&i), sizeof(i)},
                                         absl::MakeConstSpan(source).first(sizes.back()));
    ASSERT_TRUE(a()->PostAll({&work, 1}, both()));
  }
  EXPECT_TRUE(Drive([&] { return arrived == kMessages; })) << arrived << " arrived";
  DriveAWhile();
  EXPECT_EQ(b()->messages_seen, kMessages);
}

TEST_P(TransportMessage, CarriesNothingAndTheMost) {
  const Wire wire = Connect();
  const uint32_t most = a()->transport()->info().message_bytes_max;
  const std::vector<std::byte> header = PatternBytes(kHeaderBytesMax, 1);
  const std::vector<std::byte> payload = PatternBytes(most, 2);
  struct Shape {
    size_t header;
    size_t payload;
  };
  for (const Shape shape :
       {Shape{0, 0}, Shape{1, 0}, Shape{0, 1}, Shape{kHeaderBytesMax, 0}, Shape{0, most}, Shape{1, most - 1},
        Shape{kHeaderBytesMax, most - kHeaderBytesMax}, Shape{kHeaderBytesMax, 1}}) {
    SCOPED_TRACE(absl::StrCat(shape.header, " + ", shape.payload));
    b()->messages.clear();
    const WorkRequest work = MessageWork(wire.client_id, absl::MakeConstSpan(header).first(shape.header),
                                         absl::MakeConstSpan(payload).first(shape.payload));
    ASSERT_TRUE(a()->PostAll({&work, 1}, both()));
    ASSERT_TRUE(Drive([&] { return !b()->messages.empty(); }));
    const absl::Span<const std::byte> got = AsBytes(b()->messages.front().bytes);
    ASSERT_EQ(got.size(), shape.header + shape.payload);
    EXPECT_EQ(PatternMismatch(got.first(shape.header), 1), "");
    EXPECT_EQ(PatternMismatch(got.subspan(shape.header), 2), "");
  }
}

TEST_P(TransportMessage, HeaderIsCopiedByPost) {
  const Wire wire = Connect();
  for (int i = 0; i < 50; ++i) {
    std::string header = absl::StrCat("header ", i);
    const WorkRequest work = MessageWork(wire.client_id, AsBytes(header));
    ASSERT_TRUE(a()->PostAll({&work, 1}, both()));
    std::fill(header.begin(), header.end(), '!');
  }
  ASSERT_TRUE(Drive([&] { return b()->messages.size() == 50; }));
  for (int i = 0; i < 50; ++i) EXPECT_EQ(b()->messages[static_cast<size_t>(i)].bytes, absl::StrCat("header ", i));
}

TEST_P(TransportMessage, ABatchMayNameManyConnections) {
  constexpr size_t kConnections = 8;
  constexpr size_t kRounds = 20;
  std::vector<Wire> wires;
  for (size_t i = 0; i < kConnections; ++i) wires.push_back(Connect());
  std::vector<std::string> headers;
  for (size_t round = 0; round < kRounds; ++round) headers.push_back(absl::StrCat("round ", round));
  std::vector<WorkRequest> batch;
  for (const std::string& header : headers) {
    for (const Wire& wire : wires) batch.push_back(MessageWork(wire.client_id, AsBytes(header)));
  }
  ASSERT_TRUE(a()->PostAll(batch, both()));
  ASSERT_TRUE(Drive([&] { return b()->messages.size() == batch.size(); }));
  std::map<ConnectionId, size_t> next;
  for (const TransportNode::Message& message : b()->messages) {
    EXPECT_EQ(message.bytes, headers[next[message.connection]++]);
  }
  EXPECT_EQ(next.size(), kConnections);
}

TEST_P(TransportMessage, ReportsWhatWasSignaled) {
  constexpr uint64_t kMessages = 300;
  const Wire wire = Connect();
  const std::vector<std::byte> payload = PatternBytes(1000, 3);
  std::vector<uint64_t> expected;
  for (uint64_t i = 0; i < kMessages; ++i) {
    WorkRequest work = MessageWork(wire.client_id, AsBytes("h"), payload);
    work.signaled = i % 3 == 0;
    work.work_id = ~i;
    if (work.signaled) expected.push_back(work.work_id);
    ASSERT_TRUE(a()->PostAll({&work, 1}, both()));
  }
  ASSERT_TRUE(Drive([&] { return a()->sent.size() == expected.size() && b()->messages.size() == kMessages; }));
  DriveAWhile();
  std::sort(expected.begin(), expected.end());
  std::sort(a()->sent.begin(), a()->sent.end());
  EXPECT_EQ(a()->sent, expected);
}

TEST_P(TransportMessage, SentPayloadIsTheCallersAgain) {
  constexpr uint64_t kMessages = 200;
  const Wire wire = Connect();
  std::vector<std::byte> payload(std::min<uint32_t>(5000, a()->transport()->info().message_bytes_max));
  b()->keep_messages = false;
  uint64_t arrived = 0;
  b()->on_message = [&](const Event& event) {
    ASSERT_EQ(PatternMismatch({event.data, event.data_bytes}, arrived), "");
    ++arrived;
  };
  for (uint64_t i = 0; i < kMessages; ++i) {
    FillPattern(absl::MakeSpan(payload), i);
    WorkRequest work = MessageWork(wire.client_id, {}, payload);
    work.signaled = true;
    work.work_id = i;
    ASSERT_TRUE(a()->PostAll({&work, 1}, both()));
    ASSERT_TRUE(Drive([&] { return a()->sent.size() == i + 1; }));
  }
  EXPECT_TRUE(Drive([&] { return arrived == kMessages; }));
}

// What is registered for a message alone is let go of as soon as it has arrived: nothing that the device has yet to say
// of it ends the connection.
TEST_P(TransportMessage, MemoryIsLetGoOfRightBehindItsMessage) {
  if (a()->device_memory() == nullptr) GTEST_SKIP() << "devices need not know memory";
  constexpr uint64_t kMessages = 300;
  const Wire wire = Connect();
  for (uint64_t i = 0; i < kMessages; ++i) {
    std::vector<std::byte> payload = PatternBytes(2048, i);
    auto registered = a()->device_memory()->Register(absl::MakeSpan(payload));
    ASSERT_TRUE(registered.ok()) << registered.status();
    WorkRequest work = MessageWork(wire.client_id, {}, payload);
    work.registered = registered->get();
    ASSERT_TRUE(a()->PostAll({&work, 1}, both()));
    ASSERT_TRUE(Drive([&] { return b()->messages.size() == 1; })) << i;
    EXPECT_EQ(AsBytes(b()->messages.front().bytes), absl::MakeConstSpan(payload));
    b()->messages.clear();
    registered->reset();
  }
  DriveAWhile();
  EXPECT_TRUE(a()->closed.empty() && b()->closed.empty());
}

// A peer that does not read is back-pressure, in bounded memory; when it reads again, all arrives in order.
TEST_P(TransportMessage, PushesBackWhenThePeerDoesNotRead) {
  constexpr uint64_t kBytesMax = uint64_t{1} << 30;
  constexpr uint64_t kMemoryMax = 16 << 20;
  const Wire wire = Connect();
  const std::vector<std::byte> payload = PatternBytes(a()->transport()->info().eager_bytes_max, 5);
  uint64_t posted = 0;
  int refusals = 0;
  while (refusals < 1000) {
    ASSERT_LT(posted * payload.size(), kBytesMax) << "no back-pressure";
    const WorkRequest work =
        MessageWork(wire.client_id, {reinterpret_cast<const std::byte*>(&posted), sizeof(posted)}, payload);
    if (a()->transport()->Post({&work, 1}) == 1) {
      ++posted;
      refusals = 0;
    } else {
      ++refusals;
      a()->Poll();
    }
    ASSERT_LT(a()->transport()->MemoryBytes(wire.client_id), kMemoryMax);
  }
  EXPECT_GT(posted, 0u);
  uint64_t arrived = 0;
  b()->keep_messages = false;
  b()->on_message = [&](const Event& event) {
    uint64_t number;
    std::memcpy(&number, event.data, sizeof(number));
    ASSERT_EQ(number, arrived++);
    ASSERT_EQ(event.data_bytes, sizeof(number) + payload.size());
  };
  const uint64_t number = posted;
  const WorkRequest last =
      MessageWork(wire.client_id, {reinterpret_cast<const std::byte*>(&number), sizeof(number)}, payload);
  ASSERT_TRUE(a()->PostAll({&last, 1}, both()));
  EXPECT_TRUE(Drive([&] { return arrived == posted + 1; })) << arrived << " of " << posted + 1;
  EXPECT_TRUE(a()->closed.empty());
}

// Back-pressure on one connection does not hold up another.
TEST_P(TransportMessage, OneFullConnectionLeavesOthersFree) {
  TransportNode* slow = world()->MakeNode();
  ASSERT_NE(slow, nullptr);
  const auto bound = slow->transport()->Listen(AnyAddress(GetParam().kind));
  ASSERT_TRUE(bound.ok()) << bound.status();
  const auto full = a()->transport()->Connect(*bound, 0, {}, nullptr, Soon());
  ASSERT_TRUE(full.ok()) << full.status();
  TransportNode* const all[] = {a(), b(), slow};
  ASSERT_TRUE(DriveUntil(
      all, [&] { return !slow->pending.empty(); }, kPatienceNs));
  ASSERT_TRUE(slow->transport()->Accept(std::move(slow->pending.front()), {}, nullptr).ok());
  ASSERT_TRUE(DriveUntil(
      all, [&] { return a()->connected.count(*full) > 0; }, kPatienceNs));
  const Wire wire = Connect();
  const std::vector<std::byte> payload = PatternBytes(a()->transport()->info().eager_bytes_max, 5);
  const WorkRequest stuck = MessageWork(*full, AsBytes("stuck"), payload);
  for (int refusals = 0; refusals < 1000;) {
    if (a()->transport()->Post({&stuck, 1}) == 1) {
      refusals = 0;
    } else {
      ++refusals;
      a()->Poll();
    }
  }
  const WorkRequest free_work = MessageWork(wire.client_id, AsBytes("free"), payload);
  ASSERT_TRUE(a()->PostAll({&free_work, 1}, both()));
  EXPECT_TRUE(Drive([&] { return !b()->messages.empty(); }));
}

TEST_P(TransportMessage, FloodsBothWaysAtOnce) {
  constexpr uint64_t kMessages = 3000;
  const Wire wire = Connect();
  const std::vector<std::byte> payload = PatternBytes(a()->transport()->info().eager_bytes_max, 5);
  struct Side {
    TransportNode* node;
    ConnectionId id;
    uint64_t posted = 0;
    uint64_t arrived = 0;
  };
  Side sides[] = {{a(), wire.client_id}, {b(), wire.server_id}};
  for (Side& side : sides) {
    side.node->keep_messages = false;
    side.node->on_message = [&side, &payload](const Event& event) {
      uint64_t number;
      std::memcpy(&number, event.data, sizeof(number));
      ASSERT_EQ(number, side.arrived);
      ASSERT_EQ(event.data_bytes, sizeof(number) + payload.size());
      ++side.arrived;
    };
  }
  EXPECT_TRUE(Drive([&] {
    for (Side& side : sides) {
      while (side.posted < kMessages) {
        const WorkRequest work =
            MessageWork(side.id, {reinterpret_cast<const std::byte*>(&side.posted), sizeof(side.posted)}, payload);
        if (side.node->transport()->Post({&work, 1}) == 0) break;
        ++side.posted;
      }
    }
    return sides[0].arrived == kMessages && sides[1].arrived == kMessages;
  })) << sides[0].arrived
      << " and " << sides[1].arrived << " arrived";
}

TEST_P(TransportMessage, PollFillsAsMuchAsItIsGiven) {
  const Wire wire = Connect();
  std::vector<WorkRequest> batch(20, MessageWork(wire.client_id, AsBytes("one")));
  ASSERT_TRUE(a()->PostAll(batch, both()));
  size_t seen = b()->messages.size();
  EXPECT_TRUE(Drive([&] {
    Event event;
    b()->regions()->EnterRound(b()->lane());
    const size_t polled = b()->transport()->Poll({&event, 1});
    b()->regions()->LeaveRound(b()->lane());
    EXPECT_LE(polled, 1u);
    seen += polled;
    EXPECT_EQ(b()->transport()->Poll({}), 0u);
    return seen + b()->messages.size() >= batch.size();
  }));
  DriveAWhile();
  EXPECT_EQ(seen + b()->messages.size(), batch.size());
}

}  // namespace
}  // namespace mcp::internal
