// Both protocols' machines against a wire that loses, repeats, reorders and damages, and that breaks down altogether.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "lib/base/random.h"
#include "lib/protocol/receiver.h"
#include "lib/protocol/sender.h"
#include "tests/support/seed.h"

namespace mcp::internal {
namespace {

using ::testing::HasSubstr;

TransferPlan Plan(uint32_t chunks) {
  return {.transfer = 7,
          .bytes = uint64_t{chunks} * 1000 - 300,
          .chunk_bytes = 1000,
          .window = 16,
          .retry_ns = 1000,
          .retries_max = 1000,
          .overtaken_max = 3};
}

struct Faults {
  uint32_t lose = 0, repeat = 0, delay = 0, damage = 0;  // of 1000 items
  uint32_t break_down = 0;                               // of 1000 rounds
};

// Carries items with a random delay. Virtual time: one round is 100 ns.
template <class Item>
class Wire {
 public:
  void Put(const Item& item, const Faults& faults, Random* random) {
    if (random->Below(1000) < faults.lose) return;
    const uint64_t copies = random->Below(1000) < faults.repeat ? 2 : 1;
    for (uint64_t i = 0; i < copies; ++i) {
      const uint64_t delay = random->Below(1000) < faults.delay ? random->Below(8) : 0;
      items_.push_back({round_ + delay, item});
    }
  }
  std::vector<Item> Take() {
    std::vector<Item> due;
    const auto later =
        std::stable_partition(items_.begin(), items_.end(), [&](const auto& entry) { return entry.first > round_; });
    for (auto entry = later; entry != items_.end(); ++entry) due.push_back(entry->second);
    items_.erase(later, items_.end());
    ++round_;
    return due;
  }

 private:
  uint64_t round_ = 0;
  std::vector<std::pair<uint64_t, Item>> items_;
};

// Moves one transfer to its end and holds every byte against what was sent.
class World {
 public:
  World(uint64_t seed, const Faults& faults) : random_(seed), faults_(faults) {}

  void RunBulk(uint32_t chunks) {
    const TransferPlan plan = Plan(chunks);
    BulkReceiver receiver(plan);
    BulkSender sender(plan);
    landed_.assign(chunks, false);
    Run(&sender, &receiver, [&](const WorkItem& item) {
      // A write lands whatever its generation: silent writes are not asked.
      if (item.kind == WorkKind::kWrite) {
        landed_[item.chunk] = random_.Below(1000) >= faults_.damage || landed_[item.chunk];
      } else {
        ASSERT_TRUE(receiver.OnCommit(item.generation, item.question).ok());
      }
      uint32_t chunk = 0;
      while (receiver.NextToVerify(&chunk)) receiver.OnVerified(chunk, landed_[chunk]);
    });
    EXPECT_EQ(receiver.state(), ReceiverState::kDone);
    EXPECT_EQ(std::count(landed_.begin(), landed_.end(), true), chunks);
  }

  void RunStream(uint32_t chunks, bool in_order, uint32_t buffered_max) {
    const TransferPlan plan = Plan(chunks);
    StreamReceiver receiver(plan, in_order, buffered_max);
    StreamSender sender(plan, receiver.initial_credit_end());
    std::vector<int> deliveries(chunks, 0);
    uint32_t next_in_order = 0;
    Run(&sender, &receiver, [&](const WorkItem& item) {
      if (item.kind == WorkKind::kChunk) {
        const bool intact = random_.Below(1000) >= faults_.damage;
        ASSERT_TRUE(receiver.OnChunk(item.generation, item.chunk, intact).ok());
      } else {
        ASSERT_TRUE(receiver.OnQuery(item.generation, item.question).ok());
      }
      uint32_t chunk = 0;
      while (receiver.NextToDeliver(&chunk)) {
        ++deliveries[chunk];
        if (in_order) {
          ASSERT_EQ(chunk, next_in_order++);
        }
      }
    });
    EXPECT_EQ(receiver.state(), ReceiverState::kDone);
    for (uint32_t chunk = 0; chunk < chunks; ++chunk) EXPECT_EQ(deliveries[chunk], 1) << chunk;
  }

  uint64_t resent() const { return resent_; }
  uint64_t sent() const { return sent_; }

 private:
  template <class Receiver, class Arrive>
  void Run(Sender* sender, Receiver* receiver, Arrive arrive) {
    uint32_t generation = 1;
    int64_t now_ns = 0;
    for (int round = 0; sender->state() != SenderState::kDone; ++round, now_ns += 100) {
      ASSERT_LT(round, 200'000) << "no end";
      ASSERT_NE(sender->state(), SenderState::kFailed);
      if (random_.Below(1000) < faults_.break_down) {
        sender->OnPathLost();
        if (sender->state() == SenderState::kSuspended) {
          WorkItem none;
          ASSERT_FALSE(sender->Next(now_ns, &none));
          ++generation;  // what is still on the wire is of an older one
          ASSERT_TRUE(sender->Resume(generation, receiver->Resume(generation), now_ns).ok());
        }
      }
      sender->OnTimeout(now_ns);
      WorkItem item;
      for (uint64_t room = random_.Below(6); room > 0 && sender->Next(now_ns, &item); --room) {
        ++sent_;
        forth_.Put(item, faults_, &random_);
      }
      for (const WorkItem& arrived : forth_.Take()) arrive(arrived);
      Report report;
      while (receiver->NextReport(&report)) back_.Put(report, faults_, &random_);
      for (const Report& arrived : back_.Take()) ASSERT_TRUE(sender->OnReport(arrived, now_ns).ok());
    }
    resent_ = sender->chunks_resent();
  }

  Random random_;
  const Faults faults_;
  Wire<WorkItem> forth_;
  Wire<Report> back_;
  std::vector<bool> landed_;
  uint64_t resent_ = 0;
  uint64_t sent_ = 0;
};

TEST(Protocol, ACleanPathNeedsEveryChunkOnce) {
  for (uint32_t chunks : {1u, 2u, 17u, 300u}) {
    World bulk(1, {});
    bulk.RunBulk(chunks);
    EXPECT_EQ(bulk.resent(), 0u);
    EXPECT_EQ(bulk.sent(), chunks + 1) << "and one commit";
    World stream(1, {});
    stream.RunStream(chunks, true, 8);
    EXPECT_EQ(stream.resent(), 0u);
    EXPECT_EQ(stream.sent(), chunks);
  }
}

class ProtocolFaultTest : public ::testing::TestWithParam<Faults> {};

TEST_P(ProtocolFaultTest, EveryChunkArrivesOnce) {
  const uint64_t seed = TestSeed(100);
  for (uint64_t run = 0; run < 40; ++run) {
    SCOPED_TRACE(SeedNote(seed + run));
    const auto chunks = static_cast<uint32_t>(1 + Random(seed + run).Below(200));
    World(seed + run, GetParam()).RunBulk(chunks);
    World(seed + run, GetParam()).RunStream(chunks, true, 8);
    World(seed + run, GetParam()).RunStream(chunks, false, 12);
    if (HasFatalFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Mixes, ProtocolFaultTest,
    ::testing::Values(Faults{.lose = 100}, Faults{.repeat = 200, .delay = 300}, Faults{.damage = 100},
                      Faults{.break_down = 50}, Faults{.lose = 300, .repeat = 100, .delay = 300, .damage = 50},
                      Faults{.lose = 50, .repeat = 50, .delay = 100, .damage = 20, .break_down = 20}));

TEST(Protocol, StreamSendsAgainOnlyWhatIsMissing) {
  uint64_t resent = 0;
  uint64_t sent = 0;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    World world(seed, {.lose = 20});
    world.RunStream(400, true, 16);
    resent += world.resent();
    sent += world.sent();
  }
  EXPECT_LT(static_cast<double>(resent) / static_cast<double>(sent), 0.04) << "one in fifty was lost";
}

TEST(Protocol, ARunIsWhatFollowsOneAnotherAndMayBeSent) {
  const TransferPlan plan = Plan(10);
  StreamSender sender(plan, 8);
  WorkItem item;
  ASSERT_TRUE(sender.NextRun(0, 3, &item));
  EXPECT_EQ(item.chunk, 0u);
  EXPECT_EQ(item.length, 3 * plan.chunk_bytes);
  ASSERT_TRUE(sender.NextRun(0, 100, &item));
  EXPECT_EQ(item.offset, plan.offset(3));
  EXPECT_EQ(item.length, 5 * plan.chunk_bytes) << "as far as credit goes";
  EXPECT_FALSE(sender.NextRun(0, 100, &item));
  // Chunks 1 and 4 are missing; what lies between them has arrived.
  Report report{.generation = 1, .first_missing = 1, .arrived_beyond = 0b1110110, .credit_end = 8};
  sender.OnTimeout(plan.retry_ns);
  ASSERT_TRUE(sender.Next(plan.retry_ns, &item));
  report.question = item.question;
  ASSERT_TRUE(sender.OnReport(report, plan.retry_ns).ok());
  ASSERT_TRUE(sender.NextRun(plan.retry_ns, 100, &item));
  EXPECT_EQ(item.chunk, 1u);
  EXPECT_EQ(item.length, plan.chunk_bytes);
}

// Chunks on other connections may lawfully overtake one: then only an answer to a question, or the loss of the path,
// says that it is lost.
TEST(Protocol, OnAReliablePathOvertakingMeansNothing) {
  TransferPlan plan = Plan(8);
  plan.overtaken_max = 0;
  StreamSender sender(plan, 8);
  WorkItem item;
  while (sender.Next(0, &item)) {
  }
  Report report{.generation = 1, .first_missing = 0, .arrived_beyond = 0xfe, .credit_end = 8};
  ASSERT_TRUE(sender.OnReport(report, 0).ok());
  EXPECT_FALSE(sender.Next(0, &item));
  sender.OnTimeout(plan.retry_ns);
  ASSERT_TRUE(sender.Next(plan.retry_ns, &item));
  EXPECT_EQ(item.kind, WorkKind::kQuery);
  report.question = item.question;
  ASSERT_TRUE(sender.OnReport(report, plan.retry_ns).ok());
  ASSERT_TRUE(sender.Next(plan.retry_ns, &item)) << "it was asked behind the chunk, and the chunk is not there";
  EXPECT_EQ(item.chunk, 0u);
}

TEST(Protocol, ASenderThatHearsNothingAsksAndGivesUp) {
  TransferPlan plan = Plan(3);
  plan.retries_max = 2;
  BulkSender sender(plan);
  WorkItem item;
  while (sender.Next(0, &item)) {
  }
  EXPECT_EQ(sender.state(), SenderState::kWaiting);
  EXPECT_EQ(sender.deadline_ns(), 1000);
  int64_t now_ns = 0;
  for (uint32_t question = 2; question <= 3; ++question) {
    sender.OnTimeout(now_ns += 1000);
    ASSERT_TRUE(sender.Next(now_ns, &item));
    EXPECT_EQ(item.kind, WorkKind::kCommit);
    EXPECT_EQ(item.question, question);
  }
  sender.OnTimeout(now_ns + 999);
  EXPECT_EQ(sender.state(), SenderState::kWaiting) << "not yet";
  sender.OnTimeout(now_ns + 1000);
  EXPECT_EQ(sender.state(), SenderState::kFailed);
  EXPECT_EQ(sender.deadline_ns(), Sender::kNever);
  EXPECT_FALSE(sender.Next(now_ns + 1000, &item));
}

TEST(Protocol, CreditAndWindowBoundWhatIsInFlight) {
  TransferPlan plan = Plan(100);
  StreamSender by_credit(plan, 5);
  WorkItem item;
  uint32_t count = 0;
  while (by_credit.Next(0, &item)) ++count;
  EXPECT_EQ(count, 5u);
  StreamSender by_window(plan, 100);
  count = 0;
  while (by_window.Next(0, &item)) ++count;
  EXPECT_EQ(count, plan.window);
}

TEST(Protocol, WhatAPeerCannotSayIsAnErrorThatNamesIt) {
  BulkSender sender(Plan(10));
  EXPECT_THAT(sender.OnReport({.generation = 1, .first_missing = 11}, 0).message(),
              HasSubstr("first_missing 11 of 10"));
  EXPECT_THAT(sender.OnReport({.generation = 1, .question = 1}, 0).message(), HasSubstr("question 1 of 0"));
  EXPECT_FALSE(sender.OnReport({.generation = 1, .complete = true}, 0).ok());
  EXPECT_TRUE(sender.OnReport({.generation = 9, .first_missing = 99}, 0).ok()) << "another generation is ignored";
  EXPECT_EQ(sender.state(), SenderState::kSending);
  StreamReceiver receiver(Plan(10), true, 4);
  EXPECT_THAT(receiver.OnChunk(1, 10, true).message(), HasSubstr("chunk 10 of 10"));
  EXPECT_THAT(receiver.OnChunk(1, 4, true).message(), HasSubstr("credit ends at 4"));
  EXPECT_FALSE(receiver.OnQuery(1, 0).ok());
  EXPECT_TRUE(receiver.OnChunk(2, 10, true).ok()) << "another generation is ignored";
  EXPECT_EQ(receiver.chunks_arrived(), 0u);
}

TEST(Protocol, ResumingNeedsALaterGenerationAndALostPath) {
  StreamSender sender(Plan(10), 10);
  EXPECT_EQ(sender.Resume(2, {.generation = 2}, 0).code(), absl::StatusCode::kFailedPrecondition);
  sender.OnPathLost();
  EXPECT_EQ(sender.Resume(1, {.generation = 1}, 0).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(sender.Resume(2, {.generation = 2}, 0).ok());
  sender.Cancel();
  EXPECT_EQ(sender.state(), SenderState::kFailed);
}

TEST(Protocol, APlanFromAPeerIsChecked) {
  TransferPlan plan = Plan(10);
  EXPECT_TRUE(CheckPlan(plan).ok());
  plan.chunk_bytes = 0;
  EXPECT_FALSE(CheckPlan(plan).ok());
  plan.chunk_bytes = 1;
  plan.bytes = ~uint64_t{0};
  EXPECT_THAT(CheckPlan(plan).message(), HasSubstr("chunks, at most"));
  plan = Plan(10);
  plan.bytes = 0;
  EXPECT_FALSE(CheckPlan(plan).ok());
}

}  // namespace
}  // namespace mcp::internal
