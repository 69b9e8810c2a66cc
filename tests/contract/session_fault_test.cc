// Sessions under the adversary. What a link layer can mend it mends: every operation ends well. What it cannot, ends in
// an allowed code, within a bound. Nothing completes twice, nothing hangs, no byte is wrong.
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/support/engine_world.h"
#include "tests/support/operations.h"
#include "tests/support/seed.h"
#include "tests/support/workload.h"

namespace mcp::internal {
namespace {

using std::chrono::milliseconds;

constexpr int64_t kSecondNs = 1'000'000'000;

struct FaultCase {
  std::string name;
  FaultPlan plan;
  bool checksum = true;
  int rails = 1;
  bool stream = false;
};

void PrintTo(const FaultCase& fault_case, std::ostream* out) { *out << fault_case.name; }
std::string FaultCaseName(const testing::TestParamInfo<FaultCase>& info) { return info.param.name; }

// Two engines without lanes, driven under virtual time: milliseconds of waiting cost nothing.
struct VirtualPair {
  VirtualPair(const FaultPlan& plan, uint64_t seed, bool stream = false) {
    EngineWorld::Setup setup;
    setup.plan = plan;
    setup.context.policy = "fixed";
    setup.context.fixed.protocol = stream ? Protocol::kStream : Protocol::kEager;  // what is long goes by bulk then
    setup.clock = &clock;
    setup.seed = seed;
    world = std::make_unique<EngineWorld>(setup);
    operations.set_world(world.get());
    client = world->MakeEngine(0);
    server = world->MakeEngine(0);
  }
  ManualClock clock{kSecondNs};
  Operations operations;
  std::unique_ptr<EngineWorld> world;
  Engine* client;
  Engine* server;
};

std::vector<FaultCase> MendableCases() {
  constexpr uint64_t kSeed = 7;
  struct Rate {
    FaultKind kind;
    double rate;
    bool needs_checksum;
  };
  const Rate rates[] = {{FaultKind::kDrop, 0.02, false},          {FaultKind::kDelay, 0.05, false},
                        {FaultKind::kReorder, 0.03, false},       {FaultKind::kDuplicate, 0.05, false},
                        {FaultKind::kCorruptHeader, 0.02, false}, {FaultKind::kCorruptPayload, 0.05, true},
                        {FaultKind::kCorruptWrite, 0.05, true},   {FaultKind::kTruncate, 0.03, true},
                        {FaultKind::kPartialPost, 0.2, false},    {FaultKind::kPartialPoll, 0.5, false}};
  std::vector<FaultCase> cases;
  FaultPlan mixed, mixed_unchecked;
  mixed.seed = mixed_unchecked.seed = kSeed;
  for (const Rate& rate : rates) {
    const FaultPlan plan = FaultPlan::Only(rate.kind, rate.rate, kSeed);
    cases.push_back({absl::StrCat(FaultKindName(rate.kind)), plan, true, 1});
    cases.push_back({absl::StrCat(FaultKindName(rate.kind), "_rails3"), plan, true, 3});
    cases.push_back({absl::StrCat(FaultKindName(rate.kind), "_rails3_stream"), plan, true, 3, true});
    if (!rate.needs_checksum) cases.push_back({absl::StrCat(FaultKindName(rate.kind), "_unchecked"), plan, false, 2});
    mixed.set_rate(rate.kind, rate.rate / 5);
    if (!rate.needs_checksum) mixed_unchecked.set_rate(rate.kind, rate.rate / 5);
  }
  cases.push_back({"mixed", mixed, true, 1});
  cases.push_back({"mixed_rails4", mixed, true, 4});
  cases.push_back({"mixed_stream", mixed, true, 1, true});
  cases.push_back({"mixed_unchecked", mixed_unchecked, false, 2});
  return cases;
}

class SessionMends : public testing::TestWithParam<FaultCase> {};

INSTANTIATE_TEST_SUITE_P(Every, SessionMends, testing::ValuesIn(MendableCases()), FaultCaseName);

TEST_P(SessionMends, EveryOperationEndsWell) {
  FaultPlan plan = GetParam().plan;
  plan.seed = TestSeed(plan.seed);
  SCOPED_TRACE(SeedNote(plan.seed));
  VirtualPair pair(plan, plan.seed, GetParam().stream);
  WorkloadOptions options;
  options.seed = plan.seed;
  options.session.rails = GetParam().rails;
  options.session.checksum = GetParam().checksum;
  Workload workload(pair.world.get(), &pair.operations, pair.client, pair.server, options);
  EXPECT_TRUE(workload.Run());
  EXPECT_EQ(workload.count(absl::StatusCode::kOk), options.transfers)
      << workload.Summary() << "; " << pair.world->ledger()->ToString() << "; " << workload.last_end();
  EXPECT_GT(pair.world->ledger()->total(), 0u) << "nothing was done to it";
}

TEST_P(SessionMends, CancelledAndTimedOutOnesToo) {
  FaultPlan plan = GetParam().plan;
  plan.seed = TestSeed(plan.seed + 1000);
  SCOPED_TRACE(SeedNote(plan.seed));
  VirtualPair pair(plan, plan.seed, GetParam().stream);
  WorkloadOptions options;
  options.seed = plan.seed;
  options.transfers = 200;
  options.cancel_rate = 0.3;
  options.timeout_rate = 0.1;
  options.session.rails = GetParam().rails;
  options.session.checksum = GetParam().checksum;
  Workload workload(pair.world.get(), &pair.operations, pair.client, pair.server, options);
  EXPECT_TRUE(workload.Run());
  EXPECT_EQ(workload.count(absl::StatusCode::kOk) + workload.count(absl::StatusCode::kCancelled) +
                workload.count(absl::StatusCode::kDeadlineExceeded),
            options.transfers)
      << workload.Summary() << "; " << pair.world->ledger()->ToString() << "; " << workload.last_end();
  EXPECT_GT(workload.count(absl::StatusCode::kOk), options.transfers / 2) << workload.Summary();
}

// Connections are killed, and what else the plan does happens before and after.
void ExpectSessionsOutliveKills(FaultPlan plan) {
  plan.set_rate(FaultKind::kKill, 0.01);
  uint64_t kills = 0;
  for (uint64_t seed = TestSeed(1), last = seed + 10; seed < last; ++seed) {
    SCOPED_TRACE(SeedNote(seed));
    plan.seed = seed;
    VirtualPair pair(plan, seed, seed % 2 == 0);
    WorkloadOptions options;
    options.seed = seed;
    options.transfers = 200;
    options.session.rails = 1 + static_cast<int>(seed % 3);
    Workload workload(pair.world.get(), &pair.operations, pair.client, pair.server, options);
    EXPECT_TRUE(workload.Run());
    kills += pair.world->ledger()->count(FaultKind::kKill);
    EXPECT_EQ(workload.count(absl::StatusCode::kOk), options.transfers) << workload.Summary() << workload.last_end();
  }
  EXPECT_GT(kills, 10u);
}

TEST(SessionFault, KilledConnectionsComeBack) { ExpectSessionsOutliveKills({}); }

// Behind a frame that arrived damaged others were taken, which must not be sent again.
TEST(SessionFault, KilledConnectionsComeBackToWhatWasDamaged) {
  ExpectSessionsOutliveKills(FaultPlan::Mix({FaultKind::kCorruptWrite, FaultKind::kCorruptPayload}, 0.05, 1));
}

TEST(SessionFault, KilledConnectionsComeBackToWhatWasLost) {
  ExpectSessionsOutliveKills(FaultPlan::Mix({FaultKind::kDrop, FaultKind::kDelay, FaultKind::kReorder}, 0.03, 1));
}

// From some moment on nothing arrives at all, and nobody says so.
TEST(SessionFault, ASilentlyDeadPeerIsAnErrorWithinTheBound) {
  for (const int rails : {1, 3}) {
    FaultPlan plan = FaultPlan::Only(FaultKind::kDrop, 1, 3);
    plan.spared_first = 500;
    VirtualPair pair(plan, 3);
    WorkloadOptions options;
    options.transfers = 1'000'000;
    options.session.rails = rails;
    options.session.peer_timeout = milliseconds(1000);
    const int64_t start_ns = pair.clock.NowNs();
    Workload workload(pair.world.get(), &pair.operations, pair.client, pair.server, options);
    EXPECT_TRUE(workload.Run());
    EXPECT_LT(pair.clock.NowNs() - start_ns, 2 * kSecondNs);
    EXPECT_EQ(workload.last_end().code(), absl::StatusCode::kUnavailable) << workload.last_end();
  }
}

TEST(SessionFault, DamageWithoutEndIsDataLossWithinTheBound) {
  for (const FaultKind kind : {FaultKind::kCorruptWrite, FaultKind::kCorruptPayload, FaultKind::kCorruptHeader,
                               FaultKind::kTruncate, FaultKind::kDrop}) {
    SCOPED_TRACE(FaultKindName(kind));
    VirtualPair pair(FaultPlan::Only(kind, 1, 3), 3);
    WorkloadOptions options;
    options.transfers = 200;
    // Frames that arrive damaged are signs of life, so that it is their number that ends the session: with little else
    // than probes on the way that takes its time.
    constexpr int64_t kBoundNs = 120 * kSecondNs;
    options.bound_ns = kBoundNs;
    const int64_t start_ns = pair.clock.NowNs();
    Workload workload(pair.world.get(), &pair.operations, pair.client, pair.server, options);
    EXPECT_TRUE(workload.Run());
    EXPECT_LT(pair.clock.NowNs() - start_ns, kBoundNs);
    EXPECT_TRUE(workload.last_end().code() == absl::StatusCode::kUnavailable ||
                workload.last_end().code() == absl::StatusCode::kDataLoss)
        << workload.last_end();
  }
}

// A hello that arrives damaged makes no session, or one that works; never a hang.
TEST(SessionFault, DamagedHellosAreRefused) {
  int refused = 0;
  for (uint64_t seed = TestSeed(1), last = seed + 40; seed < last; ++seed) {
    SCOPED_TRACE(SeedNote(seed));
    VirtualPair pair(FaultPlan::Only(FaultKind::kCorruptHello, 0.5, seed), seed);
    SessionOptions options;
    options.rails = 1 + static_cast<int>(seed % 3);
    EngineWorld::Ends ends;
    const int64_t start_ns = pair.clock.NowNs();
    if (!pair.world->Connect(pair.client, pair.server, options, &ends)) {
      EXPECT_NE(ends.status.code(), absl::StatusCode::kOk);
      ++refused;
    }
    EXPECT_LT(pair.clock.NowNs() - start_ns, 10 * kSecondNs);
  }
  EXPECT_GT(refused, 0);
}

struct ThreadedCase {
  TransportKind kind;
  int lanes;
  int rails;
};

void PrintTo(const ThreadedCase& threaded, std::ostream* out) {
  *out << TransportKindName(threaded.kind) << "_lanes" << threaded.lanes << "_rails" << threaded.rails;
}

// The same over every transport, with lanes that are threads, in real time.
class SessionMendsThreaded : public testing::TestWithParam<ThreadedCase> {};

INSTANTIATE_TEST_SUITE_P(
    Every, SessionMendsThreaded,
    testing::Values(ThreadedCase{TransportKind::kLoopback, 1, 1}, ThreadedCase{TransportKind::kLoopback, 2, 3},
                    ThreadedCase{TransportKind::kTcpIoUring, 0, 2}, ThreadedCase{TransportKind::kTcpIoUring, 2, 2},
                    ThreadedCase{TransportKind::kTcpEpoll, 0, 2}, ThreadedCase{TransportKind::kTcpEpoll, 2, 2},
                    ThreadedCase{TransportKind::kVerbs, 0, 2}, ThreadedCase{TransportKind::kVerbs, 2, 2},
                    ThreadedCase{TransportKind::kVerbsFake, 0, 2}, ThreadedCase{TransportKind::kVerbsFake, 2, 2}),
    testing::PrintToStringParamName());

// What a link layer can mend, and how often each for a few transfers to meet it.
constexpr struct {
  FaultKind kind;
  double rate;
} kMendable[] = {{FaultKind::kDrop, 0.02},          {FaultKind::kDelay, 0.05},         {FaultKind::kReorder, 0.05},
                 {FaultKind::kDuplicate, 0.05},     {FaultKind::kCorruptHeader, 0.02}, {FaultKind::kTruncate, 0.05},
                 {FaultKind::kCorruptPayload, 0.2}, {FaultKind::kCorruptWrite, 0.2},   {FaultKind::kPartialPost, 0.2},
                 {FaultKind::kPartialPoll, 0.2}};

// Nothing of it fails.
void RunUnder(const ThreadedCase& threaded, const FaultPlan& plan, WorkloadOptions options) {
  SCOPED_TRACE(SeedNote(plan.seed));
  EngineWorld::Setup setup;
  setup.kind = threaded.kind;
  setup.seed = plan.seed;
  setup.plan = plan;
  Operations operations;
  EngineWorld world(setup);
  operations.set_world(&world);
  Engine* client = world.MakeEngine(threaded.lanes);
  Engine* server = world.MakeEngine(threaded.lanes);
  ASSERT_TRUE(client != nullptr && server != nullptr);
  options.seed = plan.seed;
  options.session.rails = threaded.rails;
  options.session.recovery_timeout = milliseconds(5000);  // of a busy machine: what goes missing costs a connection
  Workload workload(&world, &operations, client, server, options);
  EXPECT_TRUE(workload.Run());
  EXPECT_EQ(workload.count(absl::StatusCode::kOk), options.transfers)
      << workload.Summary() << "; " << world.ledger()->ToString() << "; " << workload.last_end();
  EXPECT_GT(world.ledger()->total(), 0u);
}

void RunUnderAMix(const ThreadedCase& threaded, double rate, uint64_t seed) {
  FaultPlan plan;
  plan.seed = seed;
  for (const auto& mendable : kMendable) plan.set_rate(mendable.kind, rate);
  RunUnder(threaded, plan, {});
}

TEST_P(SessionMendsThreaded, UnderAMixOfFaults) {
  const std::string reason = WhyNoTransport(GetParam().kind);
  if (!reason.empty()) GTEST_SKIP() << reason;
  RunUnderAMix(GetParam(), 0.003, TestSeed(5));
}

TEST_P(SessionMendsThreaded, UnderEachFaultAlone) {
  const std::string reason = WhyNoTransport(GetParam().kind);
  if (!reason.empty()) GTEST_SKIP() << reason;
  WorkloadOptions options;
  options.transfers = 60;
  for (const auto& [kind, rate] : kMendable) {
    SCOPED_TRACE(FaultKindName(kind));
    RunUnder(GetParam(), FaultPlan::Only(kind, rate, TestSeed(4)), options);
  }
}

// Much goes twice, and requests to send again arrive twice and late: no second copy lands on what came after the first.
TEST_P(SessionMendsThreaded, UnderManyFaults) {
  if (GetParam().kind == TransportKind::kVerbs) GTEST_SKIP() << "soft-RoCE is slow; the device in memory has its rules";
  const std::string reason = WhyNoTransport(GetParam().kind);
  if (!reason.empty()) GTEST_SKIP() << reason;
  for (uint64_t seed = TestSeed(1), last = seed + 12; seed < last; ++seed) {
    RunUnderAMix(GetParam(), seed % 2 == 0 ? 0.02 : 0.01, seed);
  }
}

TEST_P(SessionMendsThreaded, UnderKills) {
  const std::string reason = WhyNoTransport(GetParam().kind);
  if (!reason.empty()) GTEST_SKIP() << reason;
  const uint64_t seed = TestSeed(6);
  SCOPED_TRACE(SeedNote(seed));
  EngineWorld::Setup setup;
  setup.kind = GetParam().kind;
  setup.seed = seed;
  setup.plan = FaultPlan::Only(FaultKind::kKill, 0.01, seed);
  Operations operations;
  EngineWorld world(setup);
  operations.set_world(&world);
  Engine* client = world.MakeEngine(GetParam().lanes);
  Engine* server = world.MakeEngine(GetParam().lanes);
  ASSERT_TRUE(client != nullptr && server != nullptr);
  WorkloadOptions options;
  options.seed = seed;
  options.cancel_rate = 0.05;
  options.session.rails = GetParam().rails;
  options.session.checksum = GetParam().rails != 2 || GetParam().lanes != 0;  // unchecked, devices write by themselves
  options.session.recovery_timeout = milliseconds(5000);                      // as above
  Workload workload(&world, &operations, client, server, options);
  EXPECT_TRUE(workload.Run());
  EXPECT_GT(world.ledger()->count(FaultKind::kKill), 0u);
  EXPECT_EQ(workload.count(absl::StatusCode::kOk) + workload.count(absl::StatusCode::kCancelled), options.transfers)
      << workload.Summary() << workload.last_end();
}

}  // namespace
}  // namespace mcp::internal
