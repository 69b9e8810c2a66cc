// Two transports of one thread, driven in turn, for the tests beside the sources.
#ifndef MCP_TRANSPORTS_TCP_TCP_TEST_SUPPORT_H_
#define MCP_TRANSPORTS_TCP_TCP_TEST_SUPPORT_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/memory/region_table.h"
#include "transports/tcp/tcp_transport.h"

namespace mcp::internal {

// An event with a copy of what it pointed to.
struct SeenEvent {
  Event::Kind kind;
  Event::Write write;
  ConnectionId connection;
  void* context;
  std::string data;
  uint64_t work_id;
  absl::Status status;
};

// One lane: its memory table, transport, and what it has seen.
class TestLane {
 public:
  TestLane(TcpConfig config, uint32_t lane)
      : logger_(LogLevel::kWarning, [this](LogLevel, absl::string_view text) { log_.emplace_back(text); }),
        regions_(1024, Random(lane + 1)),
        lane_(lane) {
    auto network = CreateTcpNetwork(config, &logger_);
    EXPECT_TRUE(network.ok()) << network.status();
    network_ = *std::move(network);
    auto transport = CreateTcpTransport(network_, &regions_, &clock_, lane);
    EXPECT_TRUE(transport.ok()) << transport.status();
    transport_ = *std::move(transport);
  }
  ~TestLane() { transport_.reset(); }

  Transport& transport() { return *transport_; }
  TcpNetwork& network() { return *network_; }
  RegionTable& regions() { return regions_; }
  std::vector<SeenEvent>& seen() { return seen_; }
  std::vector<std::string>& log() { return log_; }
  std::vector<std::unique_ptr<PendingConnection>>& pending() { return pending_; }
  int64_t now_ns() { return clock_.NowNs(); }

  // One round; `events_max` small enough exercises what does not fit.
  size_t Round(size_t events_max = 64) {
    std::vector<Event> events(events_max);
    regions_.EnterRound(lane_);
    const size_t count = transport_->Poll(absl::MakeSpan(events));
    for (size_t i = 0; i < count; ++i) {
      Event& event = events[i];
      if (event.kind == Event::Kind::kIncoming) {
        pending_.emplace_back(event.pending);
        continue;
      }
      seen_.push_back({event.kind, event.write, event.connection, event.context,
                       std::string(reinterpret_cast<const char*>(event.data), event.data_bytes), event.work_id,
                       event.status});
    }
    regions_.LeaveRound(lane_);
    return count;
  }

  size_t CountOf(Event::Kind kind) const {
    size_t count = 0;
    for (const SeenEvent& event : seen_) count += event.kind == kind;
    return count;
  }

 private:
  std::vector<std::string> log_;
  Logger logger_;
  SystemClock clock_;
  RegionTable regions_;
  const uint32_t lane_;
  std::shared_ptr<TcpNetwork> network_;
  std::unique_ptr<Transport> transport_;
  std::vector<SeenEvent> seen_;
  std::vector<std::unique_ptr<PendingConnection>> pending_;
};

struct TestPair {
  explicit TestPair(TcpConfig config) : server(config, 0), client(config, 1) {}

  // Rounds of both until the condition holds; false after a time that only a fault can take.
  bool Until(const std::function<bool()>& condition, size_t events_max = 64) {
    constexpr int64_t kLimitNs = 20'000'000'000;
    const int64_t deadline_ns = server.now_ns() + kLimitNs;
    while (!condition()) {
      if (server.Round(events_max) + client.Round(events_max) == 0 && server.now_ns() > deadline_ns) return false;
    }
    return true;
  }

  // Connects the two; the ids are in server_id and client_id.
  void ConnectPair(const std::string& host = "127.0.0.1") {
    auto bound = server.transport().Listen(host + ":0");
    ASSERT_TRUE(bound.ok()) << bound.status();
    address = *bound;
    const std::string hello = "hello";
    auto id = client.transport().Connect(address, 0, Bytes(hello), &client, client.now_ns() + 5'000'000'000);
    ASSERT_TRUE(id.ok()) << id.status();
    client_id = *id;
    ASSERT_TRUE(Until([&] { return !server.pending().empty() || !client.seen().empty(); }));
    ASSERT_FALSE(server.pending().empty()) << client.seen()[0].status;
    auto pending = std::move(server.pending().back());
    server.pending().pop_back();
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(pending->hello().data()), pending->hello().size()), hello);
    EXPECT_EQ(pending->listener_address(), address);
    auto accepted = server.transport().Accept(std::move(pending), Bytes("welcome"), &server);
    ASSERT_TRUE(accepted.ok()) << accepted.status();
    server_id = *accepted;
    ASSERT_TRUE(Until([&] { return !client.seen().empty(); }));
    ASSERT_EQ(client.seen()[0].kind, Event::Kind::kConnected) << client.seen()[0].status;
    EXPECT_EQ(client.seen()[0].data, "welcome");
    EXPECT_EQ(client.seen()[0].context, &client);
    client.seen().clear();
  }

  static absl::Span<const std::byte> Bytes(const std::string& text) {
    return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
  }

  static WorkRequest Message(ConnectionId connection, const std::string& header, const std::string& payload) {
    WorkRequest work;
    work.kind = WorkRequest::Kind::kMessage;
    work.connection = connection;
    work.header = reinterpret_cast<const std::byte*>(header.data());
    work.header_bytes = static_cast<uint32_t>(header.size());
    work.payload = reinterpret_cast<const std::byte*>(payload.data());
    work.payload_bytes = payload.size();
    return work;
  }

  static WorkRequest Write(ConnectionId connection, const std::string& header, const std::string& payload, uint64_t key,
                           uint64_t offset) {
    WorkRequest work = Message(connection, header, payload);
    work.kind = WorkRequest::Kind::kWrite;
    work.key = key;
    work.offset = offset;
    return work;
  }

  TestLane server;
  TestLane client;
  std::string address;
  ConnectionId server_id = 0;
  ConnectionId client_id = 0;
};

// Bytes that differ from place to place.
inline std::string Pattern(size_t bytes, uint64_t seed) {
  Random random(seed);
  std::string text(bytes, '\0');
  for (size_t i = 0; i < bytes; i += 8) {
    const uint64_t word = random.Next();
    std::memcpy(text.data() + i, &word, std::min<size_t>(8, bytes - i));
  }
  return text;
}

struct Variant {
  TcpConfig::Io io;
  TcpConfig::ZeroCopy zero_copy;
};

inline std::vector<Variant> AllVariants() {
  using Io = TcpConfig::Io;
  using ZeroCopy = TcpConfig::ZeroCopy;
  return {{Io::kIoUring, ZeroCopy::kAuto},
          {Io::kIoUring, ZeroCopy::kOff},
          {Io::kEpoll, ZeroCopy::kAuto},
          {Io::kEpoll, ZeroCopy::kOff}};
}

inline std::string VariantName(const ::testing::TestParamInfo<Variant>& info) {
  return absl::StrCat(info.param.io == TcpConfig::Io::kIoUring ? "IoUring" : "Epoll",
                      info.param.zero_copy == TcpConfig::ZeroCopy::kOff ? "Copy" : "References");
}

class TcpTransportTest : public ::testing::TestWithParam<Variant> {
 protected:
  TcpTransportTest() {
    config_.io = GetParam().io;
    config_.zero_copy = GetParam().zero_copy;
  }
  void SetUp() override {
    if (config_.io != TcpConfig::Io::kIoUring) return;
    Logger logger(LogLevel::kError);
    const auto network = CreateTcpNetwork(config_, &logger);
    if (!network.ok()) GTEST_SKIP() << network.status();
  }
  TcpConfig config_;
};

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_TCP_TCP_TEST_SUPPORT_H_
