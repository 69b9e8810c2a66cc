// Memory that its owner takes back while a peer is writing to it: regions destroyed under a hail of puts and gets,
// receives cancelled while their tiles arrive. What was taken back is unmapped or marked, so that a late write shows.
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "lib/base/random.h"
#include "lib/base/units.h"
#include "mcp/engine.h"
#include "tests/process/guarded_memory.h"
#include "tests/support/engine_world.h"
#include "tests/support/pattern.h"
#include "tests/support/seed.h"

namespace mcp::internal {
namespace {

constexpr uint64_t kTargetBytes = 3 * kMiB;
constexpr uint64_t kMessageBytes = 4 * kMiB;
constexpr uint64_t kTag = 3;
constexpr uint64_t kPatternSeed = 21;
constexpr int kRounds = 25;
constexpr int kCancelRoundsMax = 1000;
constexpr std::byte kMark{0x99};

class MemoryRace : public testing::TestWithParam<TransportKind> {
 protected:
  void SetUp() override {
    if (const std::string reason = WhyNoTransport(GetParam()); !reason.empty()) GTEST_SKIP() << reason;
    EngineWorld::Setup setup;
    setup.kind = GetParam();
    world_ = std::make_unique<EngineWorld>(setup);
    near_engine_ = world_->MakeEngine(2);
    far_engine_ = world_->MakeEngine(2);
    ASSERT_TRUE(near_engine_ != nullptr && far_engine_ != nullptr);
    auto near = near_engine_->Allocate(kMessageBytes);
    ASSERT_TRUE(near.ok()) << near.status();
    near_ = *std::move(near);
    FillPattern({near_.data(), kMessageBytes}, kPatternSeed);
    ASSERT_TRUE(world_->Connect(near_engine_, far_engine_, {}, &ends_)) << ends_.status;
  }

  void TearDown() override {
    stopping_ = true;
    ends_ = EngineWorld::Ends();
    if (world_ != nullptr) world_->Drive([this] { return open_.load() == 0; });
    near_ = Region();
    world_.reset();
  }

  // An operation that posts itself again until it fails. Each has a place of its own at both ends: bytes that change on
  // their way do not verify.
  struct Hail {
    MemoryRace* test;
    bool get;
    uint64_t bytes;
    uint64_t offset;
    RemoteRegion remote;

    void Post() {
      const Slice local = test->near_.Part(offset, bytes);
      test->open_.fetch_add(1);
      Completion next = [this](Result result) {
        if (result.status.ok()) test->completed_.fetch_add(1);
        if (result.status.ok() && !test->stopping_.load()) Post();
        MemoryRace* const then = test;
        if (then->open_.fetch_sub(1) == 1) then->world_->Notify();
      };
      Session& session = test->ends_.client;
      const auto posted = get ? session.Get(local, remote, offset, std::move(next))
                              : session.Put(local, remote, offset, std::move(next));
      if (!posted.ok()) test->open_.fetch_sub(1);
    }
  };

  std::unique_ptr<EngineWorld> world_;
  Engine* near_engine_ = nullptr;
  Engine* far_engine_ = nullptr;
  Region near_;
  EngineWorld::Ends ends_;
  std::atomic<bool> stopping_{false};
  std::atomic<uint64_t> completed_{0};
  std::atomic<int> open_{0};
};

TEST_P(MemoryRace, ARegionIsDestroyedUnderAHail) {
  const uint64_t seed = TestSeed(GetParam() == TransportKind::kTcpEpoll ? 2 : 1);
  SCOPED_TRACE(SeedNote(seed));
  Random random(seed);
  for (int round = 0; round < kRounds; ++round) {
    SCOPED_TRACE(round);
    if (!ends_.client.status().ok()) {
      ASSERT_TRUE(world_->Connect(near_engine_, far_engine_, {}, &ends_)) << ends_.status;
    }
    auto memory = std::make_unique<GuardedMemory>(kTargetBytes, std::byte{0});
    auto region = far_engine_->Register(memory->data(), memory->size());
    ASSERT_TRUE(region.ok()) << region.status();
    const auto remote = region->Export();
    ASSERT_TRUE(remote.ok()) << remote.status();
    std::vector<Hail> hails;
    uint64_t offset = 0;
    for (const uint64_t bytes : {uint64_t{64}, uint64_t{64}, 4 * kKiB, 100 * kKiB, 100 * kKiB, 800 * kKiB}) {
      for (const bool get : {false, true}) {
        hails.push_back({this, get, bytes, offset, *remote});
        offset += bytes;
      }
    }
    ASSERT_LE(offset, kTargetBytes);
    const uint64_t wanted = completed_.load() + random.Below(200);
    for (Hail& hail : hails) hail.Post();
    ASSERT_TRUE(world_->Drive([&] { return completed_.load() >= wanted; }));
    *region = Region();
    EXPECT_EQ(memory->Touched(), "");
    std::fill_n(memory->data(), memory->size(), kMark);
    if (random.Below(2) == 0) memory.reset();  // who writes now crashes
    ASSERT_TRUE(world_->Drive([&] { return open_.load() == 0; })) << open_.load() << " never completed";
    if (memory != nullptr) {
      EXPECT_EQ(ValueMismatch(memory->bytes(), kMark), "");
    }
    EXPECT_FALSE(ends_.client.status().ok()) << "whoever uses memory that was taken back loses the session";
  }
}

TEST_P(MemoryRace, AReceiveIsCancelledWhileItsTilesArrive) {
  const uint64_t seed = TestSeed(GetParam() == TransportKind::kTcpEpoll ? 4 : 3);
  SCOPED_TRACE(SeedNote(seed));
  Random random(seed);
  GuardedMemory memory(kMessageBytes, std::byte{0});
  auto region = far_engine_->Register(memory.data(), memory.size());
  ASSERT_TRUE(region.ok()) << region.status();
  int cancelled = 0;
  int whole = 0;
  // How many are caught in the middle is a matter of timing.
  for (int round = 0; round < 2 * kRounds || (cancelled < 3 && round < kCancelRoundsMax); ++round) {
    SCOPED_TRACE(round);
    std::fill_n(memory.data(), memory.size(), std::byte{0});
    std::atomic<int> outcome{0};  // of the receive: an absl::StatusCode plus one
    const auto received = ends_.server.Receive(kTag, region->All(), [&](Result result) {
      // From here on nobody else writes there.
      if (!result.status.ok()) std::fill_n(memory.data(), memory.size(), kMark);
      outcome.store(static_cast<int>(result.status.code()) + 1);
      world_->Notify();
    });
    ASSERT_TRUE(received.ok()) << received.status();
    const uint64_t before = ends_.server.Statistics().payload_bytes_received;
    std::atomic<bool> sent{false};
    const auto sending = ends_.client.Send(kTag, near_.All(), [&](Result) {
      sent.store(true);
      world_->Notify();
    });
    ASSERT_TRUE(sending.ok()) << sending.status();
    const uint64_t enough = random.Below(kMessageBytes);
    while (outcome.load() == 0 && ends_.server.Statistics().payload_bytes_received - before < enough) sched_yield();
    ASSERT_TRUE(ends_.server.Cancel(*received).ok());
    ASSERT_TRUE(world_->Drive([&] { return outcome.load() != 0 && sent.load(); }))
        << "receive: " << outcome.load() << ", sent: " << sent.load();
    // Behind this, on every rail, nothing of the message is under way.
    std::atomic<bool> fenced{false};
    const auto fence = ends_.client.Send(kTag + 1, near_.Part(0, 2 * kMiB), [](Result) {});
    const auto last = ends_.server.Receive(kTag + 1, region->Part(0, 0), [&](Result) {
      fenced.store(true);
      world_->Notify();
    });
    ASSERT_TRUE(fence.ok() && last.ok()) << fence.status() << last.status();
    ASSERT_TRUE(world_->Drive([&] { return fenced.load(); }));
    const auto code = static_cast<absl::StatusCode>(outcome.load() - 1);
    if (code == absl::StatusCode::kOk) {
      ++whole;
      EXPECT_EQ(PatternMismatch(memory.bytes(), kPatternSeed), "");
    } else {
      ++cancelled;
      EXPECT_EQ(code, absl::StatusCode::kCancelled);
      EXPECT_EQ(ValueMismatch(memory.bytes(), kMark), "") << "a write came after the completion";
    }
    EXPECT_EQ(memory.Touched(), "");
    EXPECT_TRUE(ends_.client.status().ok() && ends_.server.status().ok()) << ends_.client.status();
  }
  std::printf("%d receives cancelled in the middle, %d came whole\n", cancelled, whole);
  EXPECT_GE(cancelled, 3);
}

INSTANTIATE_TEST_SUITE_P(
    Every, MemoryRace, testing::Values(TransportKind::kTcpIoUring, TransportKind::kTcpEpoll, TransportKind::kLoopback),
    [](const testing::TestParamInfo<TransportKind>& param) { return std::string(TransportKindName(param.param)); });

}  // namespace
}  // namespace mcp::internal
