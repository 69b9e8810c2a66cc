// Two-sided messages: which receive gets which, in what order, and what does not fit.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "lib/base/random.h"
#include "tests/contract/session_fixture.h"

namespace mcp::internal {
namespace {

constexpr uint64_t kSmall = 500;
constexpr uint64_t kMiddling = 40'000;  // goes whole where that saves a round trip
constexpr uint64_t kLarge = 300'000;

class SessionMessage : public SessionContract {
 protected:
  void SetUp() override {
    SessionContract::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    source_ = &NewMemory(client_engine(), 32 << 20);
    target_ = &NewMemory(server_engine(), 32 << 20);
  }
  // A message of this size, its bytes told by `seed`, from a place of its own.
  Operations::Index Send(uint64_t tag, uint64_t size, uint64_t seed) {
    const uint64_t at = next_source_;
    next_source_ += size;
    source_->Fill(at, size, seed);
    return StartPatiently([&] { return ops().Send(client(), tag, source_->Part(at, size)); });
  }
  struct Receiving {
    Operations::Index index;
    uint64_t at;
  };
  Receiving Receive(uint64_t tag, uint64_t size, uint64_t mask = ~uint64_t{0}) {
    const uint64_t at = next_target_;
    next_target_ += size;
    const auto start = [&] {
      ReceiveOptions options;
      options.tag_mask = mask;
      return ops().Receive(server(), tag, target_->Part(at, size), std::move(options));
    };
    return {StartPatiently(start), at};
  }
  void ExpectGot(const Receiving& receiving, uint64_t tag, uint64_t size, uint64_t seed) {
    const Operations::Outcome outcome = ops().at(receiving.index);
    ASSERT_TRUE(outcome.done) << outcome.what;
    EXPECT_TRUE(outcome.result.status.ok()) << outcome.result.status;
    EXPECT_EQ(outcome.result.tag, tag);
    EXPECT_EQ(outcome.result.bytes, size);
    EXPECT_EQ(target_->Mismatch(receiving.at, size, seed), "") << outcome.what;
  }

  Memory* source_ = nullptr;
  Memory* target_ = nullptr;
  uint64_t next_source_ = 0;
  uint64_t next_target_ = 0;
};

INSTANTIATE_TEST_SUITE_P(Every, SessionMessage, testing::ValuesIn(AllSessionCases()), SessionCaseName);

TEST_P(SessionMessage, TagsFindTheirReceives) {
  for (const uint64_t size : {kSmall, kMiddling, kLarge}) {
    SCOPED_TRACE(size);
    std::vector<Receiving> receiving;
    for (uint64_t tag = 0; tag < 8; ++tag) receiving.push_back(Receive(tag, size));
    for (uint64_t tag = 8; tag-- > 0;) Send(tag, size, 50 + tag);
    ASSERT_TRUE(FinishAll());
    for (uint64_t tag = 0; tag < 8; ++tag) ExpectGot(receiving[tag], tag, size, 50 + tag);
  }
}

TEST_P(SessionMessage, OneTagKeepsItsOrder) {
  constexpr uint64_t kMessages = 60;
  Random random(3);
  std::vector<uint64_t> sizes;
  std::vector<Receiving> receiving;
  // Small and large mixed: the ways they go differ, their order must not. Half the receives are late.
  for (uint64_t i = 0; i < kMessages; ++i) {
    sizes.push_back(random.Below(3) == 0 ? 1 + random.Below(kLarge) : 1 + random.Below(kSmall));
  }
  for (uint64_t i = 0; i < kMessages / 2; ++i) receiving.push_back(Receive(9, sizes[i]));
  for (uint64_t i = 0; i < kMessages; ++i) Send(9, sizes[i], i);
  for (int i = 0; i < 20; ++i) world().ProgressAll();
  for (uint64_t i = kMessages / 2; i < kMessages; ++i) receiving.push_back(Receive(9, sizes[i]));
  ASSERT_TRUE(FinishAll());
  for (uint64_t i = 0; i < kMessages; ++i) ExpectGot(receiving[i], 9, sizes[i], i);
}

// One at a time they find the path idle: no round trip is spent on announcing them.
TEST_P(SessionMessage, MiddlingOnesAloneGoWhole) {
  uint64_t tag = 0;
  for (const uint64_t size : {kMiddling, uint64_t{8 << 10} + 1, uint64_t{64} << 10, uint64_t{64 << 10} + 1}) {
    for (const bool late : {false, true}) {
      SCOPED_TRACE(absl::StrCat(size, late ? " late" : ""));
      ++tag;
      Receiving receiving{};
      if (!late) receiving = Receive(tag, size);
      Send(tag, size, tag);
      if (late) {
        for (int i = 0; i < 20; ++i) world().ProgressAll();
        receiving = Receive(tag, size);
      }
      ASSERT_TRUE(FinishAll());
      ExpectGot(receiving, tag, size, tag);
    }
  }
  EXPECT_EQ(client().Statistics().eager_transfers, IsVerbs(GetParam().kind) ? 0u : 6u);
}

// Together they would be copied one after the other by one lane: most are announced. The order of their sends is kept.
TEST_P(SessionMessage, MiddlingOnesInABurstAreAnnounced) {
  constexpr uint64_t kMessages = 100;
  std::vector<Receiving> receiving;
  for (uint64_t i = 0; i < kMessages; ++i) receiving.push_back(Receive(7, kMiddling));
  for (uint64_t i = 0; i < kMessages; ++i) Send(7, kMiddling, i);
  ASSERT_TRUE(FinishAll());
  for (uint64_t i = 0; i < kMessages; ++i) ExpectGot(receiving[i], 7, kMiddling, i);
  EXPECT_EQ(client().Statistics().announced_transfers + client().Statistics().eager_transfers, kMessages);
  // With lanes, the first may have ended before the last are sent.
  if (GetParam().lanes == 0) {
    EXPECT_EQ(client().Statistics().eager_transfers, IsVerbs(GetParam().kind) ? 0u : 1u);
  }
}

// What nobody receives yet takes no more of the credit than leaves room for the rest.
TEST_P(SessionMessage, UnreceivedOnesLetOthersPass) {
  std::vector<std::pair<uint64_t, uint64_t>> waiting;  // tag and size
  for (uint64_t i = 0; i < 600; ++i) waiting.emplace_back(100 + i, i % 4 == 0 ? kMiddling : 9000);
  for (const auto& [tag, size] : waiting) {
    Send(tag, size, tag);
    if (tag % 5 == 0) world().ProgressAll();  // some find themselves alone
  }
  for (const uint64_t size : {kSmall, kMiddling, kLarge}) {
    const Receiving now = Receive(1, size);
    Send(1, size, size);
    ASSERT_TRUE(Finish(now.index));
    ExpectGot(now, 1, size, size);
  }
  std::vector<Receiving> receiving;
  for (const auto& [tag, size] : waiting) receiving.push_back(Receive(tag, size));
  ASSERT_TRUE(FinishAll());
  for (size_t i = 0; i < waiting.size(); ++i)
    ExpectGot(receiving[i], waiting[i].first, waiting[i].second, waiting[i].first);
}

TEST_P(SessionMessage, MasksMatchManyTags) {
  constexpr uint64_t kMask = 0xff00;
  for (const uint64_t size : {kSmall, kMiddling, kLarge}) {
    const Receiving exact = Receive(0x1234, size);
    const Receiving group = Receive(0x1200, size, kMask);
    const Receiving any = Receive(0, size, 0);
    Send(0x1234, size, 1);  // the exact one was posted first
    Send(0x1256, size, 2);
    Send(0x9999, size, 3);
    ASSERT_TRUE(FinishAll());
    ExpectGot(exact, 0x1234, size, 1);
    ExpectGot(group, 0x1256, size, 2);
    ExpectGot(any, 0x9999, size, 3);
  }
}

TEST_P(SessionMessage, UnexpectedMessagesWait) {
  for (const uint64_t size : {kSmall, kMiddling, kLarge}) {
    Send(1, size, 1);
    Send(2, size, 2);
    Send(1, size, 3);
    for (int i = 0; i < 20; ++i) world().ProgressAll();
    const Receiving two = Receive(2, size);
    const Receiving first = Receive(0, size, 0);
    const Receiving second = Receive(1, size);
    ASSERT_TRUE(FinishAll());
    ExpectGot(two, 2, size, 2);
    ExpectGot(first, 1, size, 1);
    ExpectGot(second, 1, size, 3);
  }
}

// More than a peer holds for nothing: sends wait for credit, none is lost, order is kept.
TEST_P(SessionMessage, AFloodOfUnexpectedMessagesIsBounded) {
  constexpr uint64_t kMessages = 2000;
  constexpr uint64_t kSize = 6000;
  source_->Fill(0, kSize, 8);
  std::vector<Operations::Index> sends;
  for (uint64_t i = 0; i < kMessages; ++i) {
    sends.push_back(ops().Send(client(), i, source_->Part(0, kSize)));
    ASSERT_TRUE(ops().accepted(sends.back())) << ops().at(sends.back()).accepted;
  }
  for (int i = 0; i < 50; ++i) world().ProgressAll();
  EXPECT_LT(server().Statistics().memory_bytes, 64u << 20);
  std::vector<Receiving> receiving;
  for (uint64_t i = 0; i < kMessages; ++i) receiving.push_back(Receive(i, kSize));
  ASSERT_TRUE(FinishAll());
  for (uint64_t i = 0; i < kMessages; ++i) ExpectGot(receiving[i], i, kSize, 8);
}

// The receive fails, the message is dropped, the next one is none the worse.
TEST_P(SessionMessage, TooLongForItsBuffer) {
  for (const bool receive_first : {true, false}) {
    for (const uint64_t size : {kSmall, kMiddling, kLarge}) {
      SCOPED_TRACE(absl::StrCat(size, receive_first));
      Receiving tight{};
      if (receive_first) tight = Receive(4, size - 1);
      const auto sent = Send(4, size, 1);
      if (!receive_first) {
        for (int i = 0; i < 20; ++i) world().ProgressAll();
        tight = Receive(4, size - 1);
      }
      const Receiving roomy = Receive(4, size);
      Send(4, size, 2);
      ASSERT_TRUE(FinishAll());
      EXPECT_EQ(ops().status(tight.index).code(), absl::StatusCode::kOutOfRange) << ops().status(tight.index);
      EXPECT_EQ(ValueMismatch(target_->Bytes(tight.at, size - 1), std::byte{0}), "");
      EXPECT_TRUE(ops().status(sent).ok() || ops().status(sent).code() == absl::StatusCode::kOutOfRange)
          << ops().status(sent);
      ExpectGot(roomy, 4, size, 2);
    }
  }
}

TEST_P(SessionMessage, EmptyMessagesCarryTheirTags) {
  for (uint64_t tag = 0; tag < 20; ++tag) Send(tag, 0, 0);
  std::vector<Receiving> receiving;
  for (uint64_t tag = 0; tag < 20; ++tag) receiving.push_back(Receive(tag, 0));
  ASSERT_TRUE(FinishAll());
  for (uint64_t tag = 0; tag < 20; ++tag) ExpectGot(receiving[tag], tag, 0, 0);
}

}  // namespace
}  // namespace mcp::internal
