// Deterministic simulation: two engines without lanes, loopback with a modelled path, every fault, virtual time, one
// thread. The same seed gives the same trace, to the last completion and the last byte.
//
//   MCP_TEST_SEED=N   the first seed; a failing run prints the seed to put here
//   MCP_SIM_RUNS=N    how many seeds to run from there on (default 8): a soak
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <set>
#include <string>

#include "absl/strings/numbers.h"
#include "gtest/gtest.h"
#include "tests/support/engine_world.h"
#include "tests/support/operations.h"
#include "tests/support/seed.h"
#include "tests/support/workload.h"

namespace mcp::internal {
namespace {

uint64_t Runs() {
  const char* text = std::getenv("MCP_SIM_RUNS");
  uint64_t runs = 8;
  if (text != nullptr && !absl::SimpleAtoi(text, &runs)) return 8;
  return runs;
}

// The seed decides everything: the path, the faults and their rates, the work.
FaultPlan PlanOf(Random* random) {
  FaultPlan plan;
  plan.seed = random->Next();
  for (size_t kind = 0; kind < kFaultKinds; ++kind) {
    if (random->Below(2) == 0) plan.rates[kind] = random->Unit() * 0.03;
  }
  plan.set_rate(FaultKind::kKill, random->Below(2) == 0 ? random->Unit() * 0.005 : 0);
  plan.set_rate(FaultKind::kCorruptHello, 0);  // covered by the contract suite; here it only shortens runs
  plan.delay_ns_max = static_cast<int64_t>(1 + random->Below(20'000'000));
  return plan;
}

struct Outcome {
  uint64_t trace = 0;
  std::string summary;
};

Outcome Simulate(uint64_t seed) {
  Random random(seed);
  ManualClock clock(1'000'000'000);
  EngineWorld::Setup setup;
  setup.clock = &clock;
  setup.clock_step_ns = 100'000;
  setup.seed = random.Next();
  setup.plan = PlanOf(&random);
  setup.loopback.delay_ns = static_cast<int64_t>(random.Below(3) * random.Below(500'000));
  setup.loopback.bytes_per_second = random.Below(2) == 0 ? 0 : 1'000'000'000 + random.Below(50'000'000'000);
  setup.loopback.queue_depth = 1u << (3 + random.Below(5));
  Operations operations;
  EngineWorld world(setup);
  operations.set_world(&world);
  WorkloadOptions options;
  options.seed = random.Next();
  options.transfers = 150;
  options.cancel_rate = 0.1;
  options.timeout_rate = 0.05;
  options.sessions_max = 1000;
  options.session.rails = 1 + static_cast<int>(random.Below(4));
  options.session.outstanding_max = 1u << (3 + random.Below(8));
  options.trace_clock = &clock;
  Engine* client = world.MakeEngine(0);
  Engine* server = world.MakeEngine(0);
  Workload workload(&world, &operations, client, server, options);
  EXPECT_TRUE(workload.Run());
  // Faults this rare are mended, and none of them looks like a peer that breaks the protocol.
  EXPECT_EQ(workload.count(absl::StatusCode::kDataLoss) + workload.count(absl::StatusCode::kInternal), 0u)
      << workload.last_end();
  return {workload.trace(), workload.Summary() + "; " + world.ledger()->ToString()};
}

TEST(Simulation, TheSameSeedGivesTheSameTrace) {
  const uint64_t first = TestSeed(20'260'101);
  std::set<uint64_t> traces;
  for (uint64_t seed = first; seed < first + Runs(); ++seed) {
    SCOPED_TRACE(SeedNote(seed));
    const Outcome once = Simulate(seed);
    const Outcome again = Simulate(seed);
    std::printf("  seed %" PRIu64 ": trace %016" PRIx64 " (%s)\n", seed, once.trace, once.summary.c_str());
    EXPECT_EQ(once.trace, again.trace) << once.summary << " against " << again.summary;
    traces.insert(once.trace);
    if (testing::Test::HasFailure()) break;
  }
  EXPECT_TRUE(traces.size() == Runs() || testing::Test::HasFailure()) << "different seeds, the same trace";
}

// Seeds that once failed.
class SimulationOnce : public testing::TestWithParam<uint64_t> {};

// A tile that had been sent twice landed again after its put had completed: what the source held by then, or on top of
// a later put. 24: a get that was answered late was taken for one too many.
INSTANTIATE_TEST_SUITE_P(LateCopies, SimulationOnce, testing::Values(20, 25, 31, 34, 39, 53, 77, 79, 80, 24));

TEST_P(SimulationOnce, StaysMended) {
  SCOPED_TRACE(SeedNote(GetParam()));
  Simulate(GetParam());
}

}  // namespace
}  // namespace mcp::internal
