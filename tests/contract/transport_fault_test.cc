// The adversary itself: that each fault happens, is counted, and does no more than it says.
#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/contract/transport_fixture.h"
#include "tests/support/seed.h"

namespace mcp::internal {
namespace {

constexpr uint64_t kWorks = 400;
constexpr uint64_t kPayload = 1000;

// What arrived, by the number in the header; headers are the number twice, so that damage shows.
struct Arrivals {
  std::vector<uint64_t> order;
  std::map<uint64_t, int> times;
  uint64_t damaged_headers = 0;
  uint64_t damaged_payloads = 0;
  uint64_t short_messages = 0;
};

class FaultyRun {
 public:
  explicit FaultyRun(const FaultPlan& plan) : world_(TransportKind::kLoopback, plan, &clock_) {
    a_ = world_.MakeNode();
    b_ = world_.MakeNode();
    nodes_ = {a_, b_};
    address_ = *b_->transport()->Listen("loopback:");
    id_ = *a_->transport()->Connect(address_, 0, AsBytes("hello"), nullptr, INT64_MAX);
    Turn();
    hello_ = std::string(reinterpret_cast<const char*>(b_->pending.front()->hello().data()), 5);
    server_id_ = *b_->transport()->Accept(std::move(b_->pending.front()), AsBytes("welcome"), nullptr);
    Turn();
    reply_ = a_->connected[id_];
    landing_ = std::make_unique<Destination>(b_, kWorks * kPayload);
    b_->keep_messages = false;
    b_->on_message = [this](const Event& event) { Note(event); };
  }
  ~FaultyRun() {
    world_.ledger()->Stop();
    landing_.reset();
  }

  void Turn() {
    for (TransportNode* node : nodes_) node->Poll();
    clock_.Advance(1000);
  }

  // Odd numbers are writes, even ones messages.
  void PostNumber(uint64_t number) {
    std::byte header[16];
    std::memcpy(header, &number, 8);
    std::memcpy(header + 8, &number, 8);
    payloads_.push_back(PatternBytes(kPayload, number));
    WorkRequest work = MessageWork(id_, absl::MakeConstSpan(header), payloads_.back());
    if (number % 2 == 1) {
      work = WriteWork(id_, absl::MakeConstSpan(header), payloads_.back(), landing_->key, number * kPayload);
    }
    work.signaled = number % 4 < 2;
    work.work_id = number;
    for (int tries = 0; a_->transport()->Post({&work, 1}) == 0; ++tries) {
      ASSERT_LT(tries, 100'000);
      Turn();
    }
  }
  void Run() {
    for (uint64_t number = 0; number < kWorks; ++number) {
      PostNumber(number);
      if (number % 8 == 0) Turn();
    }
    for (int turns = 0; turns < 4000; ++turns) Turn();
    // Whatever was done to it on the way, what was lent is as it was.
    for (uint64_t number = 0; number < kWorks; ++number) {
      ASSERT_EQ(PatternMismatch(payloads_[number], number), "") << "the lender's bytes of " << number;
    }
  }
  // Each signaled work request once, whatever befell it.
  void ExpectAllSent() {
    std::vector<uint64_t> expected;
    for (uint64_t number = 0; number < kWorks; ++number) {
      if (number % 4 < 2) expected.push_back(number);
    }
    std::vector<uint64_t> sent = a_->sent;
    std::sort(sent.begin(), sent.end());
    EXPECT_EQ(sent, expected);
  }

  uint64_t count(FaultKind kind) { return world_.ledger()->count(kind); }
  TransportNode* a() { return a_; }
  TransportNode* b() { return b_; }
  ConnectionId id() const { return id_; }
  const Arrivals& arrivals() const { return arrivals_; }
  TransportWorld& world() { return world_; }
  const std::string& hello() const { return hello_; }
  const std::string& reply() const { return reply_; }

 private:
  void Note(const Event& event) {
    uint64_t number = ~uint64_t{0}, again = 0;
    if (event.data_bytes >= 16) {
      std::memcpy(&number, event.data, 8);
      std::memcpy(&again, event.data + 8, 8);
    }
    if (number != again) {
      ++arrivals_.damaged_headers;
      return;
    }
    arrivals_.order.push_back(number);
    ++arrivals_.times[number];
    absl::Span<const std::byte> payload(event.data + 16, event.data_bytes - 16);
    if (number % 2 == 1) payload = absl::MakeConstSpan(landing_->bytes).subspan(number * kPayload, kPayload);
    if (payload.size() != kPayload) ++arrivals_.short_messages;
    if (!PatternMismatch(payload, number).empty()) ++arrivals_.damaged_payloads;
  }

  ManualClock clock_;
  TransportWorld world_;
  TransportNode* a_;
  TransportNode* b_;
  std::vector<TransportNode*> nodes_;
  std::string address_;
  ConnectionId id_ = 0;
  ConnectionId server_id_ = 0;
  std::string hello_, reply_;
  std::unique_ptr<Destination> landing_;
  std::vector<std::vector<std::byte>> payloads_;
  Arrivals arrivals_;
};

bool InOrder(const std::vector<uint64_t>& numbers) { return std::is_sorted(numbers.begin(), numbers.end()); }

TEST(Fault, WithoutRatesNothingHappens) {
  FaultyRun run{FaultPlan()};
  run.Run();
  EXPECT_EQ(run.arrivals().order.size(), kWorks);
  EXPECT_TRUE(InOrder(run.arrivals().order));
  EXPECT_EQ(run.world().ledger()->total(), 0u);
  EXPECT_EQ(run.world().ledger()->ToString(), "no faults");
  run.ExpectAllSent();
}

TEST(Fault, Drops) {
  FaultyRun run(FaultPlan::Only(FaultKind::kDrop, 0.1, 1));
  run.Run();
  EXPECT_GT(run.count(FaultKind::kDrop), 0u);
  EXPECT_EQ(run.arrivals().order.size(), kWorks - run.count(FaultKind::kDrop));
  EXPECT_TRUE(InOrder(run.arrivals().order));
  run.ExpectAllSent();
}

TEST(Fault, DelaysWithoutReordering) {
  FaultyRun run(FaultPlan::Only(FaultKind::kDelay, 0.1, 1));
  for (uint64_t number = 0; number < 100; ++number) run.PostNumber(number);
  run.Turn();
  EXPECT_LT(run.arrivals().order.size(), 100u) << "nothing was late";
  for (uint64_t number = 100; number < kWorks; ++number) run.PostNumber(number);
  for (int turns = 0; turns < 8000; ++turns) run.Turn();
  EXPECT_GT(run.count(FaultKind::kDelay), 0u);
  EXPECT_EQ(run.arrivals().order.size(), kWorks);
  EXPECT_TRUE(InOrder(run.arrivals().order));
  EXPECT_EQ(run.arrivals().damaged_payloads, 0u);
  run.ExpectAllSent();
}

TEST(Fault, ReordersMessagesOnly) {
  FaultyRun run(FaultPlan::Only(FaultKind::kReorder, 0.1, 1));
  run.Run();
  EXPECT_GT(run.count(FaultKind::kReorder), 0u);
  EXPECT_EQ(run.arrivals().order.size(), kWorks);
  EXPECT_FALSE(InOrder(run.arrivals().order));
  std::vector<uint64_t> writes;
  for (const uint64_t number : run.arrivals().order) {
    if (number % 2 == 1) writes.push_back(number);
  }
  EXPECT_TRUE(InOrder(writes));
  EXPECT_EQ(run.arrivals().damaged_payloads, 0u);
  run.ExpectAllSent();
}

TEST(Fault, DuplicatesMessagesOnly) {
  FaultyRun run(FaultPlan::Only(FaultKind::kDuplicate, 0.1, 1));
  run.Run();
  const uint64_t count = run.count(FaultKind::kDuplicate);
  EXPECT_GT(count, 0u);
  EXPECT_EQ(run.arrivals().order.size(), kWorks + count);
  uint64_t twice = 0;
  for (const auto& [number, times] : run.arrivals().times) {
    ASSERT_LE(times, 2);
    if (times == 2) ++twice;
    EXPECT_TRUE(number % 2 == 0 || times == 1) << number;
  }
  EXPECT_EQ(twice, count);
  EXPECT_EQ(run.arrivals().damaged_payloads, 0u);
  run.ExpectAllSent();
}

TEST(Fault, CorruptsHeaders) {
  FaultyRun run(FaultPlan::Only(FaultKind::kCorruptHeader, 0.1, 1));
  run.Run();
  EXPECT_GT(run.count(FaultKind::kCorruptHeader), 0u);
  EXPECT_EQ(run.arrivals().damaged_headers, run.count(FaultKind::kCorruptHeader));
  EXPECT_EQ(run.arrivals().damaged_payloads, 0u);
  run.ExpectAllSent();
}

TEST(Fault, CorruptsMessagePayload) {
  FaultyRun run(FaultPlan::Only(FaultKind::kCorruptPayload, 0.1, 1));
  run.Run();
  EXPECT_GT(run.count(FaultKind::kCorruptPayload), 0u);
  EXPECT_EQ(run.arrivals().damaged_payloads, run.count(FaultKind::kCorruptPayload));
  EXPECT_EQ(run.arrivals().damaged_headers, 0u);
  run.ExpectAllSent();
}

TEST(Fault, CorruptsWrites) {
  FaultyRun run(FaultPlan::Only(FaultKind::kCorruptWrite, 0.1, 1));
  run.Run();
  EXPECT_GT(run.count(FaultKind::kCorruptWrite), 0u);
  EXPECT_EQ(run.arrivals().damaged_payloads, run.count(FaultKind::kCorruptWrite));
  EXPECT_EQ(run.arrivals().damaged_headers, 0u);
  run.ExpectAllSent();
}

TEST(Fault, Truncates) {
  FaultyRun run(FaultPlan::Only(FaultKind::kTruncate, 0.1, 1));
  run.Run();
  EXPECT_GT(run.count(FaultKind::kTruncate), 0u);
  EXPECT_GT(run.arrivals().short_messages, 0u);
  EXPECT_EQ(run.arrivals().order.size(), kWorks);
  run.ExpectAllSent();
}

TEST(Fault, Kills) {
  FaultPlan plan = FaultPlan::Only(FaultKind::kKill, 0.02, 1);
  plan.spared_first = 10;
  plan.faults_max = 1;
  FaultyRun run(plan);
  run.Run();
  EXPECT_EQ(run.count(FaultKind::kKill), 1u);
  EXPECT_EQ(run.a()->closed[run.id()].code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(run.b()->closed_contexts.size(), 1u);
  EXPECT_LT(run.arrivals().order.size(), kWorks);
}

TEST(Fault, CompletesPartially) {
  FaultyRun run(FaultPlan::Mix({FaultKind::kPartialPost, FaultKind::kPartialPoll}, 0.3, 1));
  run.Run();
  EXPECT_GT(run.count(FaultKind::kPartialPost), 0u);
  EXPECT_GT(run.count(FaultKind::kPartialPoll), 0u);
  EXPECT_EQ(run.arrivals().order.size(), kWorks);
  EXPECT_TRUE(InOrder(run.arrivals().order));
  run.ExpectAllSent();
}

TEST(Fault, CorruptsHellos) {
  FaultyRun run(FaultPlan::Only(FaultKind::kCorruptHello, 1, 1));
  EXPECT_NE(run.hello(), "hello");
  EXPECT_NE(run.reply(), "welcome");
  EXPECT_EQ(run.count(FaultKind::kCorruptHello), 2u);
}

TEST(Fault, StopsAtItsMost) {
  FaultPlan plan = FaultPlan::Only(FaultKind::kDrop, 0.5, 1);
  plan.faults_max = 7;
  FaultyRun run(plan);
  run.Run();
  EXPECT_EQ(run.world().ledger()->total(), 7u);
  EXPECT_EQ(run.arrivals().order.size(), kWorks - 7);
}

TEST(Fault, SparesWhatItIsToldTo) {
  FaultPlan plan = FaultPlan::Only(FaultKind::kDrop, 1, 1);
  plan.targets = kFaultTargetWrites;
  FaultyRun run(plan);
  run.Run();
  EXPECT_EQ(run.arrivals().order.size(), kWorks / 2);
  for (const uint64_t number : run.arrivals().order) EXPECT_EQ(number % 2, 0u);
}

// The same seed, the same faults at the same work; another seed, others.
TEST(Fault, ItsSeedDecides) {
  const auto order_of = [](uint64_t seed) {
    FaultyRun run(FaultPlan::Mix({FaultKind::kDrop, FaultKind::kDelay, FaultKind::kReorder, FaultKind::kDuplicate,
                                  FaultKind::kCorruptHeader, FaultKind::kPartialPoll, FaultKind::kPartialPost},
                                 0.05, seed));
    run.Run();
    return run.arrivals().order;
  };
  EXPECT_EQ(order_of(5), order_of(5));
  EXPECT_NE(order_of(5), order_of(6));
}

}  // namespace
}  // namespace mcp::internal
