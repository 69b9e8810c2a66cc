// Peers in other processes that are killed or stopped in the middle of everything.
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "lib/base/clock.h"
#include "lib/base/units.h"
#include "tests/process/busy_peer.h"
#include "tests/process/child.h"
#include "tests/process/hostile_fixture.h"
#include "tests/support/pattern.h"

namespace mcp::internal {
namespace {

constexpr std::chrono::milliseconds kPeerTimeout{1000};
constexpr int64_t kPeerTimeoutNs = 1000 * kNsPerMs;
constexpr int64_t kSlackNs = 2 * kNsPerS;  // of a busy machine
constexpr std::chrono::seconds kDefaultTimeout{5};
constexpr int64_t kDefaultTimeoutNs = 5 * kNsPerS;
constexpr uint64_t kWarmOperations = 60;
constexpr std::byte kAfterwards{0x77};

class DyingPeer : public HostileFixture, public testing::WithParamInterface<TransportKind> {
 protected:
  // A child that is busy with this process in every way.
  void MeetChild(std::chrono::milliseconds peer_timeout) {
    if (const std::string reason = WhyNoTransport(GetParam()); !reason.empty()) GTEST_SKIP() << reason;
    ASSERT_TRUE(Open(GetParam(), 2, peer_timeout));
    auto region = engine()->Allocate(BusyTraffic::kRegionBytes);
    ASSERT_TRUE(region.ok()) << region.status();
    busy_region_ = *std::move(region);
    const auto remote = busy_region_.Export();
    ASSERT_TRUE(remote.ok()) << remote.status();
    child_ = std::make_unique<Child>(
        std::vector<std::string>{"busy", door(), GetParam() == TransportKind::kTcpEpoll ? "epoll" : "io_uring",
                                 absl::BytesToHexString(remote->Serialize()), "5000"});
    ASSERT_TRUE(child_->started());
    visitor_ = AwaitVisitor(1);
    ASSERT_NE(visitor_, nullptr);
    auto greeting = engine()->Allocate(RemoteRegion::kSerializedBytesMax);
    ASSERT_TRUE(greeting.ok()) << greeting.status();
    const auto received = ops().Receive(visitor_->session, kGreetingTag, greeting->All());
    ASSERT_TRUE(world().Drive([&] { return ops().done(received); }));
    const auto outcome = ops().at(received).result;
    ASSERT_TRUE(outcome.status.ok()) << outcome.status;
    const auto peer_region =
        RemoteRegion::Parse(absl::string_view(reinterpret_cast<const char*>(greeting->data()), outcome.bytes));
    ASSERT_TRUE(peer_region.ok()) << peer_region.status();
    traffic_ = std::make_unique<BusyTraffic>(&visitor_->session, &busy_region_, [this] { world().Notify(); });
    traffic_->Start(*peer_region);
    ASSERT_TRUE(world().Drive([&] { return traffic_->completed() >= kWarmOperations; }))
        << traffic_->completed() << " operations completed";
  }

  // The session ends, for that reason, and its operations with it; afterwards its memory is left alone.
  absl::Status ExpectEndWithin(int64_t bound_ns) {
    SystemClock clock;
    const int64_t began_ns = clock.NowNs();
    const absl::Status end = AwaitEnd(visitor_);
    const int64_t took_ns = clock.NowNs() - began_ns;
    std::printf("the session ended after %d ms: %s\n", static_cast<int>(took_ns / kNsPerMs), end.ToString().c_str());
    EXPECT_EQ(end.code(), absl::StatusCode::kUnavailable) << end;
    EXPECT_LE(took_ns, bound_ns);
    EXPECT_EQ(traffic_->open(), 0) << "operations complete before the session's end is told";
    std::fill_n(busy_region_.data(), busy_region_.size(), kAfterwards);
    EXPECT_TRUE(witness().Goes(10)) << witness().problem();
    return end;
  }

  void ExpectUntouchedSince() {
    EXPECT_EQ(ValueMismatch({busy_region_.data(), busy_region_.size()}, kAfterwards), "");
    ExpectNoHarm();
  }

  void TearDown() override {
    child_.reset();
    if (visitor_ != nullptr) visitor_->session = Session();
    if (traffic_ != nullptr) world().Drive([&] { return traffic_->open() == 0; });
    busy_region_ = Region();
    HostileFixture::TearDown();
  }

  Region busy_region_;
  std::unique_ptr<Child> child_;
  Visitor* visitor_ = nullptr;
  std::unique_ptr<BusyTraffic> traffic_;
};

// By the reset of its connections. Where the dead process had an io_uring its sockets live until the kernel has torn
// that down, a matter of milliseconds, but of seconds on an overloaded machine: then the timeout is the bound.
TEST_P(DyingPeer, KilledIsAnErrorAtOnce) {
  MeetChild(kDefaultTimeout);
  if (HasFatalFailure() || IsSkipped()) return;
  child_->Signal(SIGKILL);
  const bool epoll = GetParam() == TransportKind::kTcpEpoll;
  const absl::Status end = ExpectEndWithin(epoll ? kSlackNs : kDefaultTimeoutNs + kSlackNs);
  if (epoll) {
    EXPECT_FALSE(absl::StrContains(end.message(), "no sign of life")) << end;
  }
  const int status = child_->Wait(kPatienceNs);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "the child ended by itself: " << status;
  ExpectUntouchedSince();
}

TEST_P(DyingPeer, StoppedIsAnErrorWithinThePeerTimeout) {
  MeetChild(kPeerTimeout);
  if (HasFatalFailure() || IsSkipped()) return;
  child_->Signal(SIGSTOP);
  const absl::Status end = ExpectEndWithin(kPeerTimeoutNs + kSlackNs);
  EXPECT_TRUE(absl::StrContains(end.message(), "no sign of life for")) << end;
  child_->Signal(SIGCONT);
  std::string line;
  ASSERT_TRUE(child_->ReadLine(&line, kPatienceNs)) << "the continued peer does not see its session end";
  EXPECT_TRUE(absl::StartsWith(line, "ended UNAVAILABLE")) << line;
  const int status = child_->Wait(kPatienceNs);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "the continued peer: wait status " << status;
  ExpectUntouchedSince();
}

INSTANTIATE_TEST_SUITE_P(Every, DyingPeer, testing::Values(TransportKind::kTcpIoUring, TransportKind::kTcpEpoll),
                         [](const testing::TestParamInfo<TransportKind>& param) {
                           return std::string(TransportKindName(param.param));
                         });

// A process that may not set up io_uring, as containers often may not.
TEST(RefusedIoUring, RunsOnEpollAndSaysWhy) {
  const struct {
    int error;
    const char* name;
  } errors[] = {{EPERM, "EPERM"}, {ENOSYS, "ENOSYS"}};
  for (const auto& [error, name] : errors) {
    SCOPED_TRACE(name);
    Child child({"refused-io-uring", absl::StrCat(error)});
    ASSERT_TRUE(child.started());
    std::string said;
    std::string line;
    while (child.ReadLine(&line, kPatienceNs)) absl::StrAppend(&said, line, "\n");
    if (absl::StartsWith(said, "skip: ")) GTEST_SKIP() << said.substr(6);
    const int status = child.Wait(kPatienceNs);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "wait status " << status;
    EXPECT_TRUE(absl::StrContains(said, "insisting: UNAVAILABLE")) << said;
    EXPECT_TRUE(absl::StrContains(said, "fallback: epoll in place of io_uring: io_uring_setup: ")) << said;
    EXPECT_TRUE(absl::StrContains(said, name)) << said;
    EXPECT_TRUE(absl::StrContains(said, "moved by epoll")) << said;
  }
}

}  // namespace
}  // namespace mcp::internal
