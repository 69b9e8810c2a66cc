// In steady state the data path allocates nothing, takes no lock and logs nothing: counted over all threads of two
// engines that move data as fast as their completions post it.
#include <semaphore.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <ctime>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "lib/base/units.h"
#include "mcp/engine.h"
#include "tests/hot_path/interpose.h"
#include "tests/support/engine_world.h"

namespace mcp::internal {
namespace {

enum class Work { kPut, kGet, kMessage };

constexpr int kOutstanding = 8;
constexpr int kReceives = 2 * kOutstanding;  // so that every message finds one
constexpr uint64_t kTag = 7;
// Steady: so many windows in a row without a count. Pools grow to a peak that timing decides, so a window may still see
// one grow; what leaks or allocates by the operation is in every window.
constexpr int kCleanWindows = 3;
constexpr int kWindowsMax = 40;
constexpr int kWindowSeconds = 60;

uint64_t WindowOperations(uint64_t size) {
  if (size <= 4 * kKiB) return 4000;
  return size <= 64 * kKiB ? 1000 : 200;
}

const char* WorkName(Work work) {
  switch (work) {
    case Work::kPut:
      return "put";
    case Work::kGet:
      return "get";
    case Work::kMessage:
      return "message";
  }
  return "";
}

using HotPathCase = std::tuple<TransportKind, int, Work, uint64_t>;

std::string CaseName(const testing::TestParamInfo<HotPathCase>& info) {
  const auto& [kind, lanes, work, size] = info.param;
  return absl::StrCat(TransportKindName(kind), "_lanes", lanes, "_", WorkName(work), "_", size);
}

class HotPath : public testing::TestWithParam<HotPathCase> {
 protected:
  // One operation that posts itself again when it completes.
  struct Slot {
    HotPath* test = nullptr;
    Session* session = nullptr;
    bool receives = false;
    Slice local;
  };

  void SetUp() override {
    const std::string reason = WhyNoTransport(kind());
    if (!reason.empty()) GTEST_SKIP() << reason;
    const std::string uncounted = hot_path::WhyNoCounting();
    if (!uncounted.empty()) GTEST_SKIP() << uncounted;
    sem_init(&milestone_, 0, 0);
    EngineWorld::Setup setup;
    setup.kind = kind();
    world_ = std::make_unique<EngineWorld>(setup);
    client_engine_ = world_->MakeEngine(lanes());
    server_engine_ = world_->MakeEngine(lanes());
    ASSERT_TRUE(client_engine_ != nullptr && server_engine_ != nullptr);
    SessionOptions options;
    options.checksum = kind() != TransportKind::kVerbsNoCost;  // which moves no payload that could be checked
    ASSERT_TRUE(world_->Connect(client_engine_, server_engine_, options, &ends_)) << ends_.status;
    near_ = Allocate(client_engine_, kOutstanding);
    far_ = Allocate(server_engine_, kReceives);
    auto remote = far_.Export();
    ASSERT_TRUE(remote.ok()) << remote.status();
    remote_ = *remote;
  }

  void TearDown() override {
    stopping_.store(true);
    ends_ = EngineWorld::Ends();
    near_ = Region();
    far_ = Region();
    world_.reset();
  }

  static TransportKind kind() { return std::get<0>(GetParam()); }
  static int lanes() { return std::get<1>(GetParam()); }
  static Work work() { return std::get<2>(GetParam()); }
  static uint64_t size() { return std::get<3>(GetParam()); }

  static Region Allocate(Engine* engine, uint64_t slots) {
    auto region = engine->Allocate(slots * size());
    EXPECT_TRUE(region.ok()) << region.status();
    return region.ok() ? *std::move(region) : Region();
  }

  void StartAll() {
    for (int i = 0; work() == Work::kMessage && i < kReceives; ++i) {
      receives_[i] = {this, &ends_.server, true, far_.Part(i * size(), size())};
      Post(&receives_[i]);
    }
    for (int i = 0; i < kOutstanding; ++i) {
      slots_[i] = {this, &ends_.client, false, near_.Part(i * size(), size())};
      Post(&slots_[i]);
    }
  }

  static void Post(Slot* slot) {
    HotPath* test = slot->test;
    if (test->stopping_.load(std::memory_order_relaxed)) return;
    Completion again = [slot](Result result) { slot->test->Completed(slot, result); };
    absl::StatusOr<OperationId> posted;
    if (slot->receives) {
      posted = slot->session->Receive(kTag, slot->local, std::move(again));
    } else if (work() == Work::kPut) {
      posted = slot->session->Put(slot->local, test->remote_, slot->local.offset, std::move(again));
    } else if (work() == Work::kGet) {
      posted = slot->session->Get(slot->local, test->remote_, slot->local.offset, std::move(again));
    } else {
      posted = slot->session->Send(kTag, slot->local, std::move(again));
    }
    if (!posted.ok()) test->Broke(posted.status());
  }

  void Completed(Slot* slot, const Result& result) {
    if (!result.status.ok()) return Broke(result.status);
    if (!slot->receives && done_.fetch_add(1, std::memory_order_relaxed) + 1 == next_milestone_.load()) {
      sem_post(&milestone_);
    }
    Post(slot);
  }

  void Broke(const absl::Status& status) {
    if (stopping_.exchange(true)) return;
    failure_ = std::string(status.message());
    sem_post(&milestone_);
  }

  // Until so many more operations are done.
  bool Pass(uint64_t operations) {
    next_milestone_.store(done_.load() + operations + kOutstanding);
    timespec deadline;
    clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += kWindowSeconds;
    if (lanes() != 0) return sem_clockwait(&milestone_, CLOCK_MONOTONIC, &deadline) == 0 && !stopping_.load();
    for (uint32_t round = 0; sem_trywait(&milestone_) != 0; ++round) {
      world_->ProgressAll();
      if (round % 1024 != 0) continue;
      timespec now;
      clock_gettime(CLOCK_MONOTONIC, &now);
      if (now.tv_sec > deadline.tv_sec) return false;
    }
    return !stopping_.load();
  }

  sem_t milestone_;
  std::unique_ptr<EngineWorld> world_;
  Engine* client_engine_ = nullptr;
  Engine* server_engine_ = nullptr;
  EngineWorld::Ends ends_;
  Region near_;
  Region far_;
  RemoteRegion remote_;
  std::array<Slot, kOutstanding> slots_;
  std::array<Slot, kReceives> receives_;
  std::atomic<uint64_t> done_{0};
  std::atomic<uint64_t> next_milestone_{0};
  std::atomic<bool> stopping_{false};
  std::string failure_;
};

TEST_P(HotPath, DoesNothingButMoveData) {
  StartAll();
  const uint64_t window = WindowOperations(size());
  ASSERT_TRUE(Pass(window)) << failure_;
  hot_path::Counts counts;
  int clean = 0;
  int windows = 0;
  size_t logged = 0;
  for (; windows < kWindowsMax && clean < kCleanWindows; ++windows) {
    const size_t logged_before = world_->log()->lines().size();
    hot_path::StartCounting();
    const bool passed = Pass(window);
    counts = hot_path::StopCounting();
    logged = world_->log()->lines().size() - logged_before;
    ASSERT_TRUE(passed) << (failure_.empty() ? "the bound passed" : failure_);
    clean = counts.allocations + counts.locks + logged == 0 ? clean + 1 : 0;
    if (clean == 0 && windows + kCleanWindows + 1 >= kWindowsMax) hot_path::PrintOffenders();
  }
  EXPECT_EQ(clean, kCleanWindows) << "the last of " << windows << " windows of " << window << " operations saw "
                                  << counts.allocations << " allocations or releases, " << counts.locks << " locks and "
                                  << logged << " lines logged";
  RecordProperty("windows", windows);
}

INSTANTIATE_TEST_SUITE_P(
    Every, HotPath,
    testing::Combine(testing::Values(TransportKind::kTcpIoUring, TransportKind::kTcpEpoll, TransportKind::kLoopback),
                     testing::Values(0, 1, 2), testing::Values(Work::kPut, Work::kGet, Work::kMessage),
                     testing::Values(64, 4 * kKiB, 64 * kKiB, 1024 * kKiB)),
    CaseName);

// Puts and gets there are the devices' own; large messages are writes with frames.
INSTANTIATE_TEST_SUITE_P(OneThread, HotPath,
                         testing::Combine(testing::Values(TransportKind::kVerbsNoCost), testing::Values(0),
                                          testing::Values(Work::kPut, Work::kGet, Work::kMessage),
                                          testing::Values(64, 4 * kKiB, 64 * kKiB, 1024 * kKiB)),
                         CaseName);

}  // namespace
}  // namespace mcp::internal
