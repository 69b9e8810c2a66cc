// Messages that are streamed, and receivers that want them in parts.
#include <algorithm>
#include <atomic>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "lib/base/random.h"
#include "tests/contract/session_fixture.h"

namespace mcp::internal {
namespace {

constexpr uint64_t kChunk = 256 << 10;
constexpr uint64_t kUnit = 64 << 10;

// What a receiver was told of one message, held against the sender's bytes at that moment.
struct Told {
  const std::byte* sent = nullptr;
  const std::byte* here = nullptr;
  uint64_t size = 0;
  bool in_order = true;
  bool completed = false;
  uint64_t end = 0;                 // in order: where the last part ended
  std::vector<bool> units;          // that were told
  std::vector<std::string> faults;  // at most a few

  void OnChunk(uint64_t offset, uint64_t bytes) {
    if (completed) Fault("a part after the completion", offset, bytes);
    if (bytes == 0 || offset + bytes > size) return Fault("outside the message", offset, bytes);
    if (in_order && offset != end) Fault(absl::StrCat("out of order after ", end), offset, bytes);
    end = offset + bytes;
    if (offset % kUnit != 0 || (bytes % kUnit != 0 && end != size)) Fault("not of whole units", offset, bytes);
    for (uint64_t unit = offset / kUnit; unit * kUnit < end; ++unit) {
      if (units[unit]) Fault("told twice", offset, bytes);
      units[unit] = true;
    }
    if (!std::equal(here + offset, here + offset + bytes, sent + offset)) Fault("other bytes", offset, bytes);
  }
  void Fault(const std::string& what, uint64_t offset, uint64_t bytes) {
    if (faults.size() < 5) faults.push_back(absl::StrCat(what, ": ", bytes, " bytes at ", offset, " of ", size));
  }
};

class SessionProtocol : public SessionContract {
 protected:
  static constexpr uint64_t kMemory = 40 << 20;

  EngineWorld::Setup WorldSetup() override {
    EngineWorld::Setup setup = SessionContract::WorldSetup();
    setup.context.policy = "fixed";
    setup.context.fixed.protocol = protocol();
    return setup;
  }
  virtual Protocol protocol() const { return Protocol::kStream; }

  void SetUp() override {
    SessionContract::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    source_ = &NewMemory(client_engine(), kMemory);
    target_ = &NewMemory(server_engine(), kMemory);
  }

  // Sends [at, at + size) to the same place over there, whose receiver is told in parts.
  Operations::Index SendTold(uint64_t at, uint64_t size, bool in_order, Told* told) {
    source_->Fill(at, size, size + at);
    told->sent = source_->bytes.data() + at;
    told->here = target_->bytes.data() + at;
    told->size = size;
    told->in_order = in_order;
    told->units.assign((size + kUnit - 1) / kUnit, false);
    const auto received = ops().Start(
        absl::StrCat("receive of ", size),
        [&](Completion completion) {
          ReceiveOptions options;
          options.on_chunk = [told](uint64_t offset, uint64_t bytes) { told->OnChunk(offset, bytes); };
          options.chunks_in_order = in_order;
          return server().Receive(size, target_->Part(at, size), std::move(completion), std::move(options));
        },
        [told](const Result&) { told->completed = true; });
    StartPatiently([&] { return ops().Send(client(), size, source_->Part(at, size)); });
    return received;
  }
  void ExpectTold(Operations::Index received, const Told& told) {
    ASSERT_TRUE(ops().status(received).ok()) << ops().status(received);
    EXPECT_EQ(std::count(told.units.begin(), told.units.end(), false), 0) << "of " << told.units.size();
    for (const std::string& fault : told.faults) ADD_FAILURE() << fault;
  }
  void TellEverySize(bool in_order) {
    for (const uint64_t size : {uint64_t{100}, kUnit, kUnit + 1, kChunk - 1, kChunk, kChunk + 1, 9 * kChunk + 17,
                                uint64_t{5} << 20, (uint64_t{20} << 20) + 3}) {
      SCOPED_TRACE(size);
      Told told;
      const auto received = SendTold(0, size, in_order, &told);
      ASSERT_TRUE(FinishAll());
      ExpectTold(received, told);
    }
  }

  void GiveUpMidway();

  Memory* source_ = nullptr;
  Memory* target_ = nullptr;
};

class SessionStream : public SessionProtocol {};

class SessionBulk : public SessionProtocol {
 protected:
  Protocol protocol() const override { return Protocol::kBulk; }
};

INSTANTIATE_TEST_SUITE_P(Every, SessionStream, testing::ValuesIn(AllSessionCases()), SessionCaseName);
INSTANTIATE_TEST_SUITE_P(Every, SessionBulk, testing::ValuesIn(AllSessionCases()), SessionCaseName);

TEST_P(SessionStream, PartsComeInOrder) { TellEverySize(true); }
TEST_P(SessionStream, PartsComeAsTheyArrive) { TellEverySize(false); }
TEST_P(SessionBulk, PartsComeInOrder) { TellEverySize(true); }
TEST_P(SessionBulk, PartsComeAsTheyArrive) { TellEverySize(false); }

TEST_P(SessionStream, IsCountedAsWhatItWas) {
  constexpr uint64_t kMessages = 7;
  for (uint64_t i = 0; i < kMessages; ++i) {
    ops().Receive(server(), i, target_->Part(0, 2 << 20));
    ops().Send(client(), i, source_->Part(0, 2 << 20));
    ASSERT_TRUE(FinishAll());
  }
  const SessionStatistics statistics = client().Statistics();
  EXPECT_EQ(statistics.stream_transfers, kMessages);
  EXPECT_EQ(statistics.bulk_transfers, 0u);
  EXPECT_EQ(statistics.protocol_switches, 0u);
  EXPECT_EQ(server().Statistics().stream_transfers, 0u) << "it sent nothing";
}

// Cancelled when part of it has arrived: the receive ends too, without a word from its own side.
void SessionProtocol::GiveUpMidway() {
  constexpr uint64_t kSize = 32 << 20;
  int cancelled = 0;
  for (int rounds = 0; rounds < 4; ++rounds) {
    SCOPED_TRACE(rounds);
    std::atomic<bool> arriving = false;
    const auto received = ops().Start("receive", [&](Completion completion) {
      ReceiveOptions options;
      options.on_chunk = [&arriving](uint64_t, uint64_t) { arriving.store(true); };
      return server().Receive(1, target_->Part(0, kSize), std::move(completion), std::move(options));
    });
    const auto sent = ops().Send(client(), 1, source_->Part(0, kSize));
    ASSERT_TRUE(Drive([&] { return arriving.load(); }));
    ASSERT_TRUE(client().Cancel(ops().at(sent).id).ok());
    ASSERT_TRUE(Finish(sent));
    ASSERT_TRUE(Finish(received));
    EXPECT_EQ(ops().status(sent).code(), ops().status(received).code());
    cancelled += ops().status(sent).code() == absl::StatusCode::kCancelled ? 1 : 0;
    ASSERT_TRUE(client().status().ok() && server().status().ok());
  }
  // Bulk hands all of it to the transport at once.
  if (GetParam().lanes == 0 && protocol() == Protocol::kStream) {
    EXPECT_GT(cancelled, 0);
  }
}

TEST_P(SessionStream, ASenderThatGivesUpEndsTheReceive) { GiveUpMidway(); }
TEST_P(SessionBulk, ASenderThatGivesUpEndsTheReceive) { GiveUpMidway(); }

// Several at once, large and small, by the same rails.
TEST_P(SessionStream, ManyAtOnce) {
  constexpr uint64_t kSlot = 4 << 20;
  constexpr uint64_t kSlots = 8;
  Random random(11);
  std::vector<Told> told(kSlots);
  std::vector<Operations::Index> received;
  for (uint64_t i = 0; i < kSlots; ++i) {
    const uint64_t size = i % 3 == 2 ? 1 + random.Below(1000) : kSlot - random.Below(kSlot / 2);
    received.push_back(SendTold(i * kSlot, size, i % 2 == 0, &told[i]));
  }
  ASSERT_TRUE(FinishAll());
  for (uint64_t i = 0; i < kSlots; ++i) ExpectTold(received[i], told[i]);
}

// Cancelled at any moment, by either side: it ends, well or as cancelled, and what comes after it is none the worse.
TEST_P(SessionStream, CanBeCancelled) {
  constexpr uint64_t kSize = 24 << 20;
  for (int rounds = 0; rounds < 6; ++rounds) {
    SCOPED_TRACE(rounds);
    const auto received = ops().Receive(server(), 1, target_->Part(0, kSize));
    const auto sent = ops().Send(client(), 1, source_->Part(0, kSize));
    for (int i = 0; i < 3 * rounds; ++i) world().ProgressAll();
    const bool by_sender = rounds % 2 == 0;
    ASSERT_TRUE((by_sender ? client() : server()).Cancel(ops().at(by_sender ? sent : received).id).ok());
    ASSERT_TRUE(Finish(by_sender ? sent : received));
    // Before they were matched, the other one was left waiting.
    ASSERT_TRUE((by_sender ? server() : client()).Cancel(ops().at(by_sender ? received : sent).id).ok());
    ASSERT_TRUE(FinishAll());
    for (const auto index : {sent, received}) {
      const absl::StatusCode code = ops().status(index).code();
      EXPECT_TRUE(code == absl::StatusCode::kOk || code == absl::StatusCode::kCancelled) << ops().status(index);
    }
    ASSERT_TRUE(client().status().ok()) << client().status();
  }
  Told told;
  const auto received = SendTold(0, 3 << 20, true, &told);
  ASSERT_TRUE(FinishAll());
  ExpectTold(received, told);
}

}  // namespace
}  // namespace mcp::internal
