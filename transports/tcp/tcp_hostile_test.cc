// Peers that are not ours: strangers, half-open ones, floods, and frames that ours would never send.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <thread>

#include "absl/strings/str_cat.h"
#include "lib/wire/bytes.h"
#include "lib/wire/tcp_frame.h"
#include "transports/tcp/address.h"
#include "transports/tcp/descriptor.h"
#include "transports/tcp/tcp_test_support.h"
#include "transports/tcp/tcp_transport.h"

namespace mcp::internal {
namespace {

using ::testing::HasSubstr;

class TcpHostileTest : public TcpTransportTest {};

INSTANTIATE_TEST_SUITE_P(Io, TcpHostileTest, ::testing::ValuesIn(AllVariants()), VariantName);

// A peer that speaks for itself, to say what ours never would.
class RawPeer {
 public:
  explicit RawPeer(const std::string& address) {
    auto addresses = ResolveAddress(address);
    EXPECT_TRUE(addresses.ok());
    fd_ = Descriptor(socket(addresses->front().family(), SOCK_STREAM, 0));
    EXPECT_EQ(connect(fd_.get(), addresses->front().raw(), addresses->front().length), 0);
  }
  void Say(const std::string& bytes) {
    ASSERT_EQ(send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
  }
  // True once the other end has closed.
  bool Closed() {
    char byte;
    const ssize_t bytes = recv(fd_.get(), &byte, 1, MSG_DONTWAIT);
    return bytes == 0 || (bytes < 0 && errno == ECONNRESET);
  }
  int fd() const { return fd_.get(); }

  static std::string Preface(TcpRole role, uint64_t token) {
    std::string bytes(kTcpPrefaceBytes, '\0');
    EncodeTcpPreface({.role = role, .hello_bytes = 0, .token = token, .host_tag = 0},
                     reinterpret_cast<std::byte*>(bytes.data()));
    return bytes;
  }

 private:
  Descriptor fd_;
};

TEST_P(TcpHostileTest, StrangersAreClosedAndNamed) {
  TestPair pair(config_);
  auto bound = pair.server.transport().Listen("127.0.0.1:0");
  RawPeer stranger(*bound);
  stranger.Say("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
  ASSERT_TRUE(pair.Until([&] { return stranger.Closed(); }));
  ASSERT_FALSE(pair.server.log().empty());
  EXPECT_THAT(pair.server.log().back(), HasSubstr("magic"));
  EXPECT_TRUE(pair.server.pending().empty());
}

TEST_P(TcpHostileTest, HalfOpenPeersTimeOut) {
  config_.handshake_timeout_ns = 20'000'000;
  TestPair pair(config_);
  auto bound = pair.server.transport().Listen("127.0.0.1:0");
  RawPeer silent(*bound);
  RawPeer halting(*bound);
  halting.Say(RawPeer::Preface(TcpRole::kControl, 1).substr(0, 7));
  RawPeer alone(*bound);
  alone.Say(RawPeer::Preface(TcpRole::kControl, 2));
  ASSERT_TRUE(pair.Until([&] { return silent.Closed() && halting.Closed() && alone.Closed(); }));
  pair.ConnectPair();
}

TEST_P(TcpHostileTest, FloodsAreBounded) {
  config_.pending_sockets_max = 8;
  config_.handshake_timeout_ns = 50'000'000;
  TestPair pair(config_);
  auto bound = pair.server.transport().Listen("127.0.0.1:0");
  std::vector<std::unique_ptr<RawPeer>> flood;
  for (int i = 0; i < 50; ++i) flood.push_back(std::make_unique<RawPeer>(*bound));
  const auto closed = [&] {
    return std::count_if(flood.begin(), flood.end(), [](const auto& peer) { return peer->Closed(); });
  };
  ASSERT_TRUE(pair.Until([&] { return closed() >= 42; }));
  EXPECT_EQ(closed(), 42);
  ASSERT_TRUE(pair.Until([&] { return closed() == 50; }));
  pair.ConnectPair();
}

// A raw peer whose connection was accepted.
struct RawConnection {
  RawConnection(TestPair* pair, const std::string& address) : control(address), data(address) {
    data.Say(RawPeer::Preface(TcpRole::kData, 77));
    control.Say(RawPeer::Preface(TcpRole::kControl, 77));
    EXPECT_TRUE(pair->Until([&] { return !pair->server.pending().empty(); }));
    auto accepted = pair->server.transport().Accept(std::move(pair->server.pending()[0]), {}, nullptr);
    EXPECT_TRUE(accepted.ok());
    pair->server.pending().clear();
    char reply[kTcpReplyBytes];
    EXPECT_EQ(recv(control.fd(), reply, sizeof(reply), MSG_WAITALL), static_cast<ssize_t>(sizeof(reply)));
  }
  RawPeer control;
  RawPeer data;
};

std::string Frame(TcpFrameType type, const std::string& body) {
  std::string bytes(kTcpFramePrefixBytes, '\0');
  EncodeTcpFramePrefix(type, 0, static_cast<uint32_t>(body.size()), reinterpret_cast<std::byte*>(bytes.data()));
  return bytes + body;
}

std::string WriteFrame(uint64_t key, uint64_t offset, uint64_t bytes) {
  std::string fields(kTcpWriteFieldsBytes, '\0');
  const uint64_t values[] = {key, offset, bytes};
  for (size_t i = 0; i < 3; ++i) StoreLittleEndian(reinterpret_cast<std::byte*>(fields.data()) + 8 * i, values[i]);
  return Frame(TcpFrameType::kWrite, fields + "written");
}

TEST_P(TcpHostileTest, FramesMayComeByteByByte) {
  TestPair pair(config_);
  auto bound = pair.server.transport().Listen("127.0.0.1:0");
  RawConnection raw(&pair, *bound);
  std::string stream;
  for (int i = 0; i < 20; ++i) stream += Frame(TcpFrameType::kMessage, Pattern(static_cast<size_t>(i) * 3, 1));
  for (const char c : stream) {
    raw.control.Say(std::string(1, c));
    pair.server.Round();
  }
  ASSERT_TRUE(pair.Until([&] { return pair.server.seen().size() == 20; }));
  for (size_t i = 0; i < 20; ++i) EXPECT_EQ(pair.server.seen()[i].data, Pattern(i * 3, 1));
}

TEST_P(TcpHostileTest, BadFramesCloseTheConnectionAlone) {
  TestPair pair(config_);
  pair.ConnectPair();
  struct Case {
    std::string bytes;
    std::string field;
  };
  std::string long_frame = Frame(TcpFrameType::kMessage, "");
  const uint32_t long_bytes = kTcpFrameBodyBytesMax + 1;
  std::memcpy(long_frame.data(), &long_bytes, 4);
  std::string reserved = Frame(TcpFrameType::kMessage, "");
  reserved[6] = 1;
  for (const Case& bad : {Case{Frame(static_cast<TcpFrameType>(9), ""), "type"}, Case{long_frame, "body_bytes"},
                          Case{reserved, "reserved"}, Case{Frame(TcpFrameType::kWrite, "short"), "body_bytes"},
                          Case{Frame(TcpFrameType::kWrite, std::string(24, '\xff')), "length"}}) {
    RawConnection raw(&pair, pair.address);
    raw.control.Say(bad.bytes);
    ASSERT_TRUE(pair.Until([&] { return !pair.server.seen().empty(); }));
    EXPECT_EQ(pair.server.seen()[0].kind, Event::Kind::kClosed);
    EXPECT_EQ(pair.server.seen()[0].status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(pair.server.seen()[0].status.message()), HasSubstr(bad.field));
    pair.server.seen().clear();
  }
  const std::string text = "still here";
  ASSERT_EQ(pair.client.transport().Post({TestPair::Message(pair.client_id, text, "")}), 1u);
  ASSERT_TRUE(pair.Until([&] { return pair.server.seen().size() == 1; }));
  EXPECT_EQ(pair.server.seen()[0].data, text);
}

// And not only with all that was announced: a sender may wait for what it was told of the first.
TEST_P(TcpHostileTest, AWriteIsReportedWhileTheNextIsOnItsWay) {
  TestPair pair(config_);
  auto bound = pair.server.transport().Listen("127.0.0.1:0");
  RawConnection raw(&pair, *bound);
  constexpr uint64_t kWriteBytes = 128 << 10;
  std::string target(4 * kWriteBytes, '\0');
  const auto key = pair.server.regions().Insert(reinterpret_cast<std::byte*>(target.data()), target.size(),
                                                kAccessRemoteWrite, nullptr);
  ASSERT_TRUE(key.ok()) << key.status();
  for (uint64_t i = 0; i < 4; ++i) raw.control.Say(WriteFrame(*key, i * kWriteBytes, kWriteBytes));
  for (int i = 0; i < 10; ++i) pair.server.Round();
  const std::string payload = Pattern(kWriteBytes, 7);
  for (size_t i = 1; i <= 4; ++i) {
    raw.data.Say(payload);
    ASSERT_TRUE(pair.Until([&] { return pair.server.seen().size() == i; })) << "write " << i;
    EXPECT_EQ(pair.server.seen().back().write, Event::Write::kLanded);
    EXPECT_EQ(target.substr((i - 1) * kWriteBytes, kWriteBytes), payload);
  }
}

TEST_P(TcpHostileTest, WaitEndsWhenSomethingComes) {
  TestPair pair(config_);
  auto bound = pair.server.transport().Listen("127.0.0.1:0");
  RawConnection raw(&pair, *bound);
  std::thread peer([&] { raw.control.Say(Frame(TcpFrameType::kMessage, "news")); });
  while (pair.server.seen().empty()) {
    pair.server.transport().Wait(pair.server.now_ns() + 60'000'000'000);
    pair.server.Round();
  }
  peer.join();
  EXPECT_EQ(pair.server.seen()[0].data, "news");
}

}  // namespace
}  // namespace mcp::internal
