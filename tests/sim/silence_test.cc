// When a quiet peer is a dead one, in virtual time.
#include <chrono>

#include "gtest/gtest.h"
#include "lib/base/clock.h"
#include "lib/base/units.h"
#include "tests/support/engine_world.h"

namespace mcp::internal {
namespace {

using std::chrono::milliseconds;

constexpr int64_t kTimeoutNs = 1000 * kNsPerMs;
// A tick is a quarter of the timeout, and the last one may come that late.
constexpr int64_t kBoundNs = kTimeoutNs + kTimeoutNs / 4;

class Silence : public ::testing::Test {
 protected:
  void SetUp() override {
    client_ = world_.MakeEngine(0);
    server_ = world_.MakeEngine(0);
    ASSERT_TRUE(client_ != nullptr && server_ != nullptr);
    SessionOptions options;
    options.peer_timeout = milliseconds(kTimeoutNs / kNsPerMs);
    ASSERT_TRUE(world_.Connect(client_, server_, options, &ends_)) << ends_.status;
  }

  static EngineWorld::Setup VirtualTime(ManualClock* clock) {
    EngineWorld::Setup setup;
    setup.clock = clock;
    return setup;
  }

  ManualClock clock_{kNsPerMs};
  EngineWorld world_{VirtualTime(&clock_)};
  Engine* client_ = nullptr;
  Engine* server_ = nullptr;
  EngineWorld::Ends ends_;
};

TEST_F(Silence, OfAPeerThatIsGoneEndsTheSessionInTime) {
  world_.log()->AllowErrors();
  const int64_t start_ns = clock_.NowNs();
  while (ends_.client.status().ok() && clock_.NowNs() < start_ns + 2 * kBoundNs) {
    clock_.Advance(kNsPerMs);
    client_->Progress();
  }
  EXPECT_EQ(ends_.client.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_GE(clock_.NowNs() - start_ns, kTimeoutNs - kTimeoutNs / 4);
  EXPECT_LE(clock_.NowNs() - start_ns, kBoundNs);
}

TEST_F(Silence, WhileNobodyRanIsNoSign) {
  for (int stall = 0; stall < 3; ++stall) {
    clock_.Advance(20 * kTimeoutNs);
    for (int64_t passed_ns = 0; passed_ns < 2 * kTimeoutNs; passed_ns += kNsPerMs) {
      world_.ProgressAll();
      clock_.Advance(kNsPerMs);
    }
  }
  EXPECT_TRUE(ends_.client.status().ok()) << ends_.client.status();
  EXPECT_TRUE(ends_.server.status().ok()) << ends_.server.status();
}

}  // namespace
}  // namespace mcp::internal
