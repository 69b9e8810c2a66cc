// A thousand sessions in one process, both ends: all connect, each moves bytes that are compared, what they cost is
// measured, and all close.
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "lib/base/clock.h"
#include "lib/base/units.h"
#include "mcp/engine.h"
#include "tests/process/sanitizer.h"
#include "tests/support/engine_world.h"
#include "tests/support/operations.h"
#include "tests/support/pattern.h"

namespace mcp::internal {
namespace {

constexpr size_t kSessions = 1000;
constexpr size_t kConnectsAtOnce = 64;  // four sockets each, of TcpConfig::pending_sockets_max
constexpr uint64_t kSmall = 700;
constexpr uint64_t kLarge = 40'000;
constexpr uint64_t kBytes = kSmall + kLarge;
// Of user-space memory, for both ends of a session: what it says of itself, and what the process grew by.
constexpr uint64_t kStatedBytesMax = 32 * kKiB;
constexpr uint64_t kResidentBytesMax = 64 * kKiB;
// The in-process transport keeps a ring of work requests for each direction.
constexpr uint64_t kLoopbackRingBytes = 96 * kKiB;
constexpr rlim_t kDescriptorsNeeded = 6 * kSessions;  // two sockets at each end, and some

uint64_t ResidentBytes() {
  unsigned long pages = 0;
  unsigned long resident = 0;
  FILE* const file = fopen("/proc/self/statm", "re");
  if (file == nullptr) return 0;
  const int read = fscanf(file, "%lu %lu", &pages, &resident);
  fclose(file);
  return read == 2 ? resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE)) : 0;
}

class ManySessions : public testing::TestWithParam<TransportKind> {
 protected:
  void SetUp() override {
    if (const std::string reason = WhyNoTransport(GetParam()); !reason.empty()) GTEST_SKIP() << reason;
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit_before_), 0);
    rlimit limit = limit_before_;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max < kDescriptorsNeeded) {
      GTEST_SKIP() << "RLIMIT_NOFILE: the hard limit is " << limit.rlim_max << ", and " << kDescriptorsNeeded
                   << " are needed";
    }
    EngineWorld::Setup setup;
    setup.kind = GetParam();
    world_ = std::make_unique<EngineWorld>(setup);
    ops_.set_world(world_.get());
    near_engine_ = world_->MakeEngine(2);
    far_engine_ = world_->MakeEngine(2);
    ASSERT_TRUE(near_engine_ != nullptr && far_engine_ != nullptr);
    for (const auto& [engine, region] :
         {std::pair(near_engine_, &near_), std::pair(far_engine_, &far_), std::pair(far_engine_, &received_)}) {
      auto allocated = engine->Allocate(kSessions * kBytes);
      ASSERT_TRUE(allocated.ok()) << allocated.status();
      *region = *std::move(allocated);
    }
    const auto remote = far_.Export();
    ASSERT_TRUE(remote.ok()) << remote.status();
    remote_ = *remote;
  }

  void TearDown() override {
    clients_.clear();
    servers_.clear();
    near_ = Region();
    far_ = Region();
    received_ = Region();
    world_.reset();
    setrlimit(RLIMIT_NOFILE, &limit_before_);
  }

  void ConnectAll() {
    SessionOptions options;
    options.rails = 1;
    // A thousand sessions on two busy cores: keep-alives may come late.
    options.peer_timeout = std::chrono::seconds(30);
    options.connect_timeout = std::chrono::seconds(30);
    auto listener = far_engine_->Listen(world_->any_address(), options, [this](Session session) {
      const std::lock_guard<std::mutex> lock(mutex_);
      servers_.push_back(std::move(session));
      world_->Notify();
    });
    ASSERT_TRUE(listener.ok()) << listener.status();
    for (size_t i = 0; i < kSessions; ++i) {
      near_engine_->ConnectAsync(listener->address(), options, [this](absl::StatusOr<Session> session) {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (session.ok()) {
          clients_.push_back(*std::move(session));
        } else {
          refused_.push_back(session.status());
        }
        world_->Notify();
      });
      ASSERT_TRUE(world_->Drive([&] {
        const std::lock_guard<std::mutex> lock(mutex_);
        return refused_.size() + std::min(clients_.size(), servers_.size()) + kConnectsAtOnce > i;
      })) << "after "
          << i;
    }
    ASSERT_TRUE(world_->Drive([&] {
      const std::lock_guard<std::mutex> lock(mutex_);
      return refused_.size() + std::min(clients_.size(), servers_.size()) >= kSessions;
    }));
    ASSERT_TRUE(refused_.empty()) << refused_.size() << " refused: " << refused_.front();
  }

  static absl::Span<std::byte> PartOf(const Region& region, size_t i) { return {region.data() + i * kBytes, kBytes}; }

  // Every session puts its own pattern, small and large, and sends one message that any of the other ends receives.
  void MoveAll() {
    FillPattern({near_.data(), near_.size()}, 5);
    for (size_t i = 0; i < kSessions; ++i) {
      const uint64_t at = i * kBytes;
      ops_.Put(clients_[i], near_.Part(at, kSmall), remote_, at);
      ops_.Put(clients_[i], near_.Part(at + kSmall, kLarge), remote_, at + kSmall);
      ops_.Receive(servers_[i], 1, received_.Part(at, kBytes));
      ops_.Send(clients_[i], 1, near_.Part(0, kBytes));
    }
    ASSERT_TRUE(world_->Drive([&] { return ops_.open() == 0; }, 3 * kPatienceNs)) << ops_.open() << " are left";
    for (size_t i = 0; i < ops_.started(); ++i) {
      ASSERT_TRUE(ops_.accepted(i)) << ops_.at(i).accepted;
      ASSERT_TRUE(ops_.status(i).ok()) << ops_.status(i);
    }
    ASSERT_EQ(PatternMismatch({far_.data(), far_.size()}, 5), "");
    for (size_t i = 0; i < kSessions; ++i) ASSERT_EQ(PatternMismatch(PartOf(received_, i), 5), "");
  }

  void CloseAll() {
    std::atomic<size_t> ended{0};
    std::atomic<size_t> wrong{0};
    for (std::vector<Session>* sessions : {&clients_, &servers_}) {
      for (Session& session : *sessions) {
        session.OnEnd([&](absl::Status) {
          ended.fetch_add(1);
          world_->Notify();
        });
      }
    }
    for (Session& session : clients_) {
      session.Close([&](Result result) {
        if (!result.status.ok()) wrong.fetch_add(1);
      });
    }
    ASSERT_TRUE(world_->Drive([&] { return ended.load() == 2 * kSessions; }, 3 * kPatienceNs))
        << ended.load() << " of " << 2 * kSessions << " ended";
    EXPECT_EQ(wrong.load(), 0u) << "closed with an error";
  }

  rlimit limit_before_ = {};
  Operations ops_;
  std::unique_ptr<EngineWorld> world_;
  Engine* near_engine_ = nullptr;
  Engine* far_engine_ = nullptr;
  Region near_;
  Region far_;
  Region received_;
  RemoteRegion remote_;
  std::mutex mutex_;
  std::vector<Session> clients_;
  std::vector<Session> servers_;
  std::vector<absl::Status> refused_;
};

TEST_P(ManySessions, WorkAndCostLittle) {
  SystemClock clock;
  const uint64_t resident_before = ResidentBytes();
  const int64_t began_ns = clock.NowNs();
  ConnectAll();
  if (HasFatalFailure()) return;
  const int64_t connected_ns = clock.NowNs();
  const uint64_t resident_idle = ResidentBytes();
  MoveAll();
  if (HasFatalFailure()) return;
  const int64_t moved_ns = clock.NowNs();
  const uint64_t resident_used = ResidentBytes();
  uint64_t stated = 0;
  uint64_t stated_max = 0;
  for (std::vector<Session>* sessions : {&clients_, &servers_}) {
    for (const Session& session : *sessions) {
      const uint64_t bytes = session.Statistics().memory_bytes;
      stated += bytes;
      stated_max = std::max(stated_max, bytes);
    }
  }
  const uint64_t idle_each = (resident_idle - resident_before) / kSessions;
  const uint64_t used_each = (resident_used - resident_before) / kSessions;
  std::printf(
      "%zu sessions, both ends: connected in %d ms, %d MB moved in %d ms; memory of both ends of one: %s resident when "
      "new, %s after traffic, %s stated; of one end at most %s stated\n",
      kSessions, static_cast<int>((connected_ns - began_ns) / kNsPerMs),
      static_cast<int>(2 * kSessions * kBytes / 1'000'000), static_cast<int>((moved_ns - connected_ns) / kNsPerMs),
      FormatBytes(idle_each).c_str(), FormatBytes(used_each).c_str(), FormatBytes(stated / kSessions).c_str(),
      FormatBytes(stated_max).c_str());
  EXPECT_GT(stated, 0u);
  const uint64_t rings = GetParam() == TransportKind::kLoopback ? kLoopbackRingBytes : 0;
  EXPECT_LE(stated / kSessions, kStatedBytesMax + rings);
  if (!kUnderAddressSanitizer && !kUnderThreadSanitizer) {
    EXPECT_LE(used_each, kResidentBytesMax + rings);
  }
  CloseAll();
}

INSTANTIATE_TEST_SUITE_P(Every, ManySessions,
                         testing::Values(TransportKind::kTcpIoUring, TransportKind::kTcpEpoll,
                                         TransportKind::kLoopback),
                         [](const testing::TestParamInfo<TransportKind>& param) {
                           return std::string(TransportKindName(param.param));
                         });

}  // namespace
}  // namespace mcp::internal
