// Which transport an engine takes that is not told, or is told an address; and what it says of that.
#include <future>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mcp/engine.h"
#include "tests/support/verbs_kind.h"

namespace mcp::internal {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kLoopback[] = "127.0.0.1:0";

EngineOptions Quiet() {
  EngineOptions options;
  options.lanes = 1;
  return options;
}

// What the engine used in place of verbs, with the reason.
auto FellBackBecause(const std::string& reason) {
  return AllOf(Field(&Fallback::wanted, "verbs"), Field(&Fallback::used, "tcp"),
               Field(&Fallback::reason, HasSubstr(reason)));
}

// A session of the engine with itself; the transport that carries it.
std::string TransportOf(Engine& engine, const std::string& listen_at) {
  std::promise<Session> accepted;
  const auto listener = engine.Listen(listen_at, {}, [&](Session session) { accepted.set_value(std::move(session)); });
  if (!listener.ok()) return listener.status().ToString();
  auto session = engine.Connect(listener->address());
  if (!session.ok()) return session.status().ToString();
  const Session peer = accepted.get_future().get();
  return session->Describe().rails.front().transport;
}

TEST(EngineTransport, WithoutRdmaItIsTcpAndSaysWhy) {
  const std::string why_no_verbs = WhyNoVerbs(false);
  if (why_no_verbs.empty()) GTEST_SKIP() << "this host has an RDMA device";
  for (const bool named : {false, true}) {
    EngineOptions options = Quiet();
    if (named) options.address = kLoopback;
    const auto engine = Engine::Create(options);
    ASSERT_TRUE(engine.ok()) << engine.status();
    EXPECT_THAT((*engine)->Fallbacks(), ElementsAre(FellBackBecause(why_no_verbs)));
    EXPECT_EQ(TransportOf(**engine, kLoopback), "tcp");
  }
  EngineOptions verbs = Quiet();
  verbs.transports = {"verbs"};
  const auto refused = Engine::Create(verbs);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr(why_no_verbs));
}

class EngineTransportWithDevice : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = WhyNoVerbs(false); !why.empty()) GTEST_SKIP() << why;
    for (const bool ipv6 : {false, true}) {
      const std::string address = VerbsDeviceAddress(ipv6);
      if (!address.empty()) addresses_.push_back(address);
    }
    ASSERT_FALSE(addresses_.empty());
  }

  std::vector<std::string> addresses_;
};

TEST_F(EngineTransportWithDevice, TheDeviceIsUsed) {
  const auto engine = Engine::Create(Quiet());
  ASSERT_TRUE(engine.ok()) << engine.status();
  EXPECT_THAT((*engine)->Fallbacks(), IsEmpty());
  for (const std::string& address : addresses_) EXPECT_EQ(TransportOf(**engine, address), "verbs") << address;
}

TEST_F(EngineTransportWithDevice, TheAddressDecides) {
  for (const std::string& address : addresses_) {
    EngineOptions options = Quiet();
    options.address = address;
    const auto engine = Engine::Create(options);
    ASSERT_TRUE(engine.ok()) << engine.status();
    EXPECT_EQ(TransportOf(**engine, address), "verbs") << address;
  }
  EngineOptions options = Quiet();
  options.address = kLoopback;
  const auto engine = Engine::Create(options);
  ASSERT_TRUE(engine.ok()) << engine.status();
  EXPECT_THAT((*engine)->Fallbacks(), ElementsAre(FellBackBecause("no RDMA device has the address")));
  EXPECT_EQ(TransportOf(**engine, kLoopback), "tcp");
  options.transports = {"verbs"};
  EXPECT_EQ(Engine::Create(options).status().code(), absl::StatusCode::kUnavailable);
}

// What the engine chose without being told cannot serve this; the error names what would.
TEST_F(EngineTransportWithDevice, AnAddressThatNoDeviceHasIsAnErrorThatNamesTheWayOut) {
  const auto engine = Engine::Create(Quiet());
  ASSERT_TRUE(engine.ok()) << engine.status();
  const auto listener = (*engine)->Listen(kLoopback, {}, [](Session) {});
  EXPECT_EQ(listener.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(listener.status().message()), HasSubstr("EngineOptions::address"));
  EXPECT_THAT(std::string(listener.status().message()), HasSubstr("no RDMA device"));
}

// Neither driver nor kernel of soft-RoCE takes dma-bufs: said, not hidden.
TEST_F(EngineTransportWithDevice, MemoryOfADmabufIsRegisteredOrRefusedWithItsReason) {
  const auto engine = Engine::Create(Quiet());
  ASSERT_TRUE(engine.ok()) << engine.status();
  auto memory = (*engine)->Allocate(1 << 20);
  ASSERT_TRUE(memory.ok()) << memory.status();
  RegionOptions options;
  options.dmabuf_fd = 0;
  options.dmabuf_offset = 1;
  EXPECT_EQ((*engine)->Register(memory->data(), memory->size(), options).status().code(),
            absl::StatusCode::kInvalidArgument);
  options.dmabuf_offset = 0;
  const auto region = (*engine)->Register(memory->data(), memory->size(), options);
  ASSERT_FALSE(region.ok()) << "standard input is no dma-buf";
  EXPECT_THAT(std::string(region.status().message()), HasSubstr("ibv_reg_dmabuf_mr"));
}

}  // namespace
}  // namespace mcp::internal
