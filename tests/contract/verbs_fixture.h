// The verbs transport over the device in memory, without an engine.
#ifndef MCP_TESTS_CONTRACT_VERBS_FIXTURE_H_
#define MCP_TESTS_CONTRACT_VERBS_FIXTURE_H_

#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/contract/transport_fixture.h"
#include "tests/support/fake_verbs.h"
#include "transports/verbs/network.h"
#include "transports/verbs/queues.h"

namespace mcp::internal {

// Two engines on one fabric, and a connection between them.
class VerbsOnFake : public testing::Test {
 protected:
  struct Side {
    TransportEngine engine;
    std::unique_ptr<TransportNode> node;
  };

  void SetUp() override {
    for (Side* side : {&a_, &b_}) {
      side->engine.regions = std::make_unique<RegionTable>(64, Random(1));
      config_.credits = side == &a_ ? credits_a_ : credits_b_;
      auto network = MakeVerbsNetwork(fabric_, log_.logger(), config_);
      ASSERT_TRUE(network.ok()) << network.status();
      side->engine.verbs = *std::move(network);
      auto transport = MakeVerbsTransport(side->engine.verbs, &clock_, 0);
      ASSERT_TRUE(transport.ok()) << transport.status();
      side->node = std::make_unique<TransportNode>(&side->engine, 0, *std::move(transport));
    }
    const auto bound = b()->transport()->Listen("127.0.0.1:0");
    ASSERT_TRUE(bound.ok()) << bound.status();
    address_ = *bound;
    Connect();
  }
  void TearDown() override {
    a_.node.reset();
    b_.node.reset();
    const FakeFabric::Counters counters = fabric_->counters();
    EXPECT_EQ(counters.send_overflows, 0u);
    EXPECT_EQ(counters.completion_overflows, 0u);
    EXPECT_EQ(counters.receives_missing, 0u);
    EXPECT_EQ(counters.receives_lost, 0u);
  }

  // As far as the acceptor's answer, of which the connecting side has not heard.
  void ConnectUntilAccepted() {
    const auto id = a()->transport()->Connect(address_, 0, AsBytes("hello"), nullptr, clock_.NowNs() + kPatienceNs);
    ASSERT_TRUE(id.ok()) << id.status();
    ASSERT_TRUE(Drive([&] { return !b()->pending.empty(); }));
    const auto accepted = b()->transport()->Accept(std::move(b()->pending.front()), AsBytes("welcome"), nullptr);
    b()->pending.pop_front();
    ASSERT_TRUE(accepted.ok()) << accepted.status();
    mine_ = *id;
    theirs_ = *accepted;
  }
  void Connect() {
    ConnectUntilAccepted();
    if (testing::Test::HasFatalFailure()) return;
    ASSERT_TRUE(Drive([&] { return a()->connected.count(mine_) > 0; }));
  }

  TransportNode* a() { return a_.node.get(); }
  TransportNode* b() { return b_.node.get(); }
  std::vector<TransportNode*> both() { return {a(), b()}; }
  bool Drive(absl::FunctionRef<bool()> done) { return DriveUntil(both(), done, kPatienceNs); }
  bool BothClosed() {
    return Drive([&] { return a()->closed.count(mine_) > 0 && b()->closed.count(theirs_) > 0; });
  }

  LogGuard log_;
  SystemClock clock_;
  std::shared_ptr<FakeFabric> fabric_ = MakeFakeFabric();
  VerbsConfig config_;
  uint8_t credits_a_ = kCreditsPerConnection;
  uint8_t credits_b_ = kCreditsPerConnection;
  Side a_;
  Side b_;
  std::string address_;
  ConnectionId mine_ = 0;
  ConnectionId theirs_ = 0;
};

}  // namespace mcp::internal

#endif  // MCP_TESTS_CONTRACT_VERBS_FIXTURE_H_
