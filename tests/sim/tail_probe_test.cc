// What was lost with nothing behind it, in virtual time.
#include <cstring>

#include "gtest/gtest.h"
#include "lib/base/clock.h"
#include "lib/base/units.h"
#include "tests/support/engine_world.h"

namespace mcp::internal {
namespace {

// The time from the call of Send to its completion, of a message of which one frame is lost: it, or what answers it.
int64_t TimeWithALossNs(int64_t tail_probe_ns, uint32_t target) {
  ManualClock clock(kNsPerMs);
  EngineWorld::Setup setup;
  setup.clock = &clock;
  setup.clock_step_ns = kNsPerMs;
  setup.loopback.tail_probe_ns = tail_probe_ns;
  setup.plan = FaultPlan::Only(FaultKind::kDrop, 1.0, 1);
  setup.plan->faults_max = 1;
  setup.plan->targets = target;
  EngineWorld world(setup);
  Engine* const client = world.MakeEngine(0);
  Engine* const server = world.MakeEngine(0);
  EngineWorld::Ends ends;
  if (client == nullptr || server == nullptr || !world.Connect(client, server, SessionOptions(), &ends)) {
    ADD_FAILURE() << ends.status;
    return 0;
  }
  const uint64_t bytes = target == kFaultTargetWrites ? 128 << 10 : 8;
  Region source = client->Allocate(bytes).value();
  Region landing = server->Allocate(bytes).value();
  bool sent = false, received = false;
  const int64_t begun_ns = clock.NowNs();
  EXPECT_TRUE(ends.server.Receive(1, landing.All(), [&](const Result& result) { received = result.status.ok(); }).ok());
  EXPECT_TRUE(ends.client.Send(1, source.All(), [&](const Result& result) { sent = result.status.ok(); }).ok());
  EXPECT_TRUE(world.Drive([&] { return sent && received; }));
  EXPECT_EQ(world.ledger()->total(), 1u) << "nothing was lost";
  return clock.NowNs() - begun_ns;
}

class TailProbe : public ::testing::TestWithParam<uint32_t> {};

TEST_P(TailProbe, FindsWhatWasLostLastSoonerWhereTheTransportAsksForIt) {
  EXPECT_GE(TimeWithALossNs(0, GetParam()), 100 * kNsPerMs);
  EXPECT_LE(TimeWithALossNs(5 * kNsPerMs, GetParam()), 25 * kNsPerMs);
}

INSTANTIATE_TEST_SUITE_P(Of, TailProbe, ::testing::Values(kFaultTargetMessages, kFaultTargetWrites),
                         [](const auto& info) { return info.param == kFaultTargetWrites ? "AWrite" : "AMessage"; });

}  // namespace
}  // namespace mcp::internal
