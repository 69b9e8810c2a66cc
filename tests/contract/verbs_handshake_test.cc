// What the two ends of a connection tell each other before it is one, and what comes of it.
#include <algorithm>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/contract/verbs_fixture.h"
#include "transports/verbs/handshake.h"
#include "transports/verbs/network.h"

namespace mcp::internal {
namespace {

TEST(VerbsHandshake, AnAnswerTellsOtherAddresses) {
  const VerbsAddress four = *ParseVerbsAddress("10.1.2.3:4567");
  const VerbsAddress six = *ParseVerbsAddress("[fd00::9]:4567");
  auto bytes = EncodeAccept({5, 64, 1, 77, {four, six}});
  const auto told = DecodeAccept(bytes);
  ASSERT_TRUE(told.ok()) << told.status();
  ASSERT_EQ(told->others.size(), 2u);
  EXPECT_EQ(FormatVerbsAddress(told->others[0].raw()), "10.1.2.3:4567");
  EXPECT_EQ(FormatVerbsAddress(told->others[1].raw()), "[fd00::9]:4567");
  EXPECT_EQ(told->credits, 64);
  auto bad = bytes;
  bad[7] = std::byte{kDevicesMax};
  EXPECT_FALSE(DecodeAccept(bad).ok());
  bad = bytes;
  bad[16] = std::byte{0};
  EXPECT_FALSE(DecodeAccept(bad).ok());
}

TEST(VerbsHandshake, SaysWhatItWasTold) {
  const std::vector<std::byte> piece = PatternBytes(kHelloPieceMax, 1);
  ConnectData connect;
  connect.path_mtu = 5;
  connect.credits = 64;
  connect.device = 3;
  connect.nonce = 0x123456789abcdef0;
  connect.hello_bytes = 96;
  connect.offset = kHelloPieceMax;
  connect.piece = piece;
  auto bytes = EncodeConnect(connect);
  auto decoded = DecodeConnect(bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->nonce, connect.nonce);
  EXPECT_EQ(decoded->offset, connect.offset);
  EXPECT_EQ(decoded->credits, connect.credits);
  EXPECT_EQ(decoded->piece, absl::MakeConstSpan(piece));
  for (const size_t damaged : {0u, 4u, 5u, 6u, 7u, 17u, 18u}) {
    auto bad = bytes;
    bad[damaged] = std::byte{0xee};
    EXPECT_FALSE(DecodeConnect(bad).ok()) << damaged;
  }
  bytes[20] = std::byte{1};
  EXPECT_EQ(DecodeConnect(bytes).status().message(), "verbs handshake: credits 1 are less than 2");
  EXPECT_FALSE(DecodeConnect(absl::MakeConstSpan(bytes).first(20)).ok());
  const std::string reject = EncodeReject({false, 7, 0, std::string(500, 'x')});
  EXPECT_LE(reject.size(), kRejectDataMax);
  const auto rejected = DecodeReject(AsBytes(reject));
  ASSERT_TRUE(rejected.ok());
  EXPECT_EQ(rejected->nonce, 7u);
  EXPECT_GT(rejected->reason.size(), 100u);
  Immediate immediate;
  EXPECT_TRUE(DecodeImmediate(EncodeImmediate({MessageType::kGoodbye, 33}), &immediate));
  EXPECT_EQ(immediate.credit, 33u);
  EXPECT_FALSE(DecodeImmediate(0, &immediate));
  EXPECT_FALSE(DecodeImmediate(6u << 28, &immediate));
  EXPECT_FALSE(DecodeImmediate(1u << 28 | 1u << 20, &immediate));
}

// Credits of the connecting side and of the accepting one: as of two builds.
class VerbsOfUnequalCredit : public VerbsOnFake, public testing::WithParamInterface<std::pair<uint8_t, uint8_t>> {
 protected:
  VerbsOfUnequalCredit() { std::tie(credits_a_, credits_b_) = GetParam(); }
};
INSTANTIATE_TEST_SUITE_P(Of, VerbsOfUnequalCredit,
                         testing::Values(std::pair(64, 8), std::pair(8, 64), std::pair(2, 64), std::pair(63, 3)),
                         [](const auto& info) { return absl::StrCat(info.param.first, "_", info.param.second); });

TEST_P(VerbsOfUnequalCredit, NeitherSendsMoreThanTheSmaller) {
  constexpr size_t kMessages = 500;
  const std::pair<TransportNode*, ConnectionId> sides[] = {{a(), mine_}, {b(), theirs_}};
  for (const auto& [node, connection] : sides) {
    const WorkRequest work = MessageWork(connection, AsBytes("header"));
    size_t posted = 0;
    while (node->transport()->Post({&work, 1}) == 1) ++posted;
    EXPECT_EQ(posted, std::min(credits_a_, credits_b_));
    const std::vector<WorkRequest> rest(kMessages - posted, work);
    std::vector<TransportNode*> nodes = both();
    ASSERT_TRUE(node->PostAll(rest, nodes));
  }
  EXPECT_TRUE(Drive([&] { return a()->messages.size() == kMessages && b()->messages.size() == kMessages; }));
  EXPECT_TRUE(a()->closed.empty() && b()->closed.empty());
}

}  // namespace
}  // namespace mcp::internal
