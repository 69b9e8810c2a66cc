// The verbs transport over the device in memory: queue accounting, credit, and what becomes of a connection in every
// row of the tables of faults.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/contract/verbs_fixture.h"
#include "transports/verbs/faults.h"
#include "transports/verbs/handshake.h"
#include "transports/verbs/network.h"
#include "transports/verbs/queues.h"

namespace mcp::internal {
namespace {

TEST_F(VerbsOnFake, BulkAsksForOneCompletionInThirtyTwo) {
  constexpr uint64_t kSize = 64 << 10;
  constexpr uint64_t kWrites = 2000;
  Destination landing(b(), kSize);
  std::vector<std::byte> payload = PatternBytes(kSize, 1);
  const auto registered = a()->device_memory()->Register(absl::MakeSpan(payload));
  ASSERT_TRUE(registered.ok());
  const std::vector<WorkRequest> batch(16, WriteWork(mine_, AsBytes("header"), payload, landing, 0));
  b()->keep_messages = false;
  const FakeFabric::Counters before = fabric_->counters();
  for (uint64_t i = 0; i < kWrites / batch.size(); ++i) ASSERT_TRUE(a()->PostAll(batch, both()));
  ASSERT_TRUE(Drive([&] { return b()->messages_seen == kWrites; }));
  const FakeFabric::Counters after = fabric_->counters();
  // The peer's credit messages ask for theirs: one for 32 messages.
  const uint64_t credits = kWrites / (kCreditsPerConnection / 2) + 1;
  const uint64_t works = after.sends_posted - before.sends_posted;
  EXPECT_GE(works, 2 * kWrites);
  EXPECT_LE(after.send_completions - before.send_completions, works / 32 + credits + 1);
}

TEST_F(VerbsOnFake, ABatchRingsOnce) {
  const std::vector<WorkRequest> batch(16, MessageWork(mine_, AsBytes("header")));
  const FakeFabric::Counters before = fabric_->counters();
  ASSERT_EQ(a()->transport()->Post(batch), batch.size());
  const FakeFabric::Counters after = fabric_->counters();
  EXPECT_EQ(after.doorbells - before.doorbells, 1u);
  EXPECT_EQ(after.sends_posted - before.sends_posted, batch.size());
  ASSERT_TRUE(Drive([&] { return b()->messages.size() == batch.size(); }));
}

TEST_F(VerbsOnFake, AWriteGoesInRequestsAsShortAsIsAskedFor) {
  constexpr uint64_t kSize = 1 << 20;
  Destination landing(b(), kSize);
  std::vector<std::byte> payload = PatternBytes(kSize, 1);
  const auto registered = a()->device_memory()->Register(absl::MakeSpan(payload));
  ASSERT_TRUE(registered.ok());
  // Length of the write and of its requests, and how many these are, with the header's: never more than 33.
  for (const auto& [bytes, request_bytes, requests] :
       {std::tuple(kSize, 0, 2), {kSize, 64 << 10, 17}, {kSize, 16 << 10, 33}, {100'000, 16 << 10, 8}, {0, 4096, 1}}) {
    WorkRequest work = WriteWork(mine_, AsBytes("header"), absl::MakeConstSpan(payload).first(bytes), landing, 0);
    work.request_bytes = static_cast<uint64_t>(request_bytes);
    const uint64_t before = fabric_->counters().sends_posted;
    ASSERT_EQ(a()->transport()->Post({&work, 1}), 1u);
    EXPECT_EQ(fabric_->counters().sends_posted - before, static_cast<uint64_t>(requests)) << bytes << " bytes";
    ASSERT_TRUE(Drive([&] { return !b()->messages.empty(); }));
    EXPECT_TRUE(std::equal(payload.begin(), payload.begin() + static_cast<ptrdiff_t>(bytes), landing.bytes.begin()));
    b()->messages.clear();
    std::fill(landing.bytes.begin(), landing.bytes.end(), std::byte{0});
  }
}

// A peer that does not poll: work is refused when its credit is spent, and the send queue does not overflow, however
// little of it completes.
TEST_F(VerbsOnFake, CreditAndQueueBoundWhatIsPosted) {
  const WorkRequest work = MessageWork(mine_, AsBytes("header"));
  uint64_t posted = 0;
  for (int i = 0; i < 1000; ++i) posted += a()->transport()->Post({&work, 1});
  EXPECT_EQ(posted, kCreditsPerConnection);
  ASSERT_TRUE(Drive([&] { return b()->messages.size() == posted; }));
  fabric_->HoldSends(true);
  Destination landing(b(), 100);
  const std::vector<std::byte> payload = PatternBytes(100, 1);
  const WorkRequest write = WriteWork(mine_, AsBytes("header"), payload, landing, 0);
  for (int i = 0; i < 1000; ++i) {
    posted += a()->transport()->Post({&write, 1});
    a()->Poll();
    b()->Poll();
  }
  EXPECT_LE(posted, 2 * kCreditsPerConnection);
  a()->transport()->Close(mine_, absl::CancelledError("enough"));
  ASSERT_TRUE(BothClosed());
}

TEST_F(VerbsOnFake, EveryCompletionStatusIsAnEndWithItsReason) {
  for (int status = IBV_WC_LOC_LEN_ERR; status <= IBV_WC_TM_RNDV_INCOMPLETE; ++status) {
    const CompletionFault& fault = FaultOf(static_cast<ibv_wc_status>(status));
    SCOPED_TRACE(ibv_wc_status_str(fault.status));
    ASSERT_EQ(fault.status, status) << "no row";
    ASSERT_NE(fault.action, FaultAction::kNone);
    fabric_->FailNext(fault.status);
    const std::vector<WorkRequest> batch(40, MessageWork(mine_, AsBytes("header")));
    ASSERT_TRUE(a()->PostAll(batch, both()));
    ASSERT_TRUE(BothClosed());
    EXPECT_EQ(a()->closed[mine_].code(), fault.code) << a()->closed[mine_];
    EXPECT_TRUE(absl::StrContains(a()->closed[mine_].message(), fault.cause)) << a()->closed[mine_];
    EXPECT_TRUE(b()->messages.empty()) << "nothing is delivered behind a failure";
    a()->closed.clear();
    b()->closed.clear();
    if (fault.action == FaultAction::kDeviceGone) {
      const auto gone = a()->transport()->Connect(address_, 0, {}, nullptr, clock_.NowNs() + kPatienceNs);
      ASSERT_TRUE(gone.ok());
      ASSERT_TRUE(Drive([&] { return a()->closed.count(*gone) > 0; }));
      EXPECT_TRUE(absl::StrContains(a()->closed[*gone].message(), "gone")) << a()->closed[*gone];
      a_.node.reset();
      b_.node.reset();
      SetUp();
    } else {
      Connect();
    }
    if (HasFatalFailure()) return;
  }
}

TEST_F(VerbsOnFake, EveryAsyncEventDoesWhatItsRowSays) {
  log_.AllowErrors();
  for (int type = IBV_EVENT_CQ_ERR; type <= IBV_EVENT_WQ_FATAL; ++type) {
    const AsyncFault& fault = FaultOf(static_cast<ibv_event_type>(type));
    SCOPED_TRACE(ibv_event_type_str(fault.type));
    ASSERT_EQ(fault.type, type) << "no row";
    fabric_->Report(fault.type);
    const bool ends = (fault.action == FaultAction::kDeviceGone) ||
                      (fault.scope == AsyncFault::Scope::kQueuePair &&
                       (fault.action == FaultAction::kRailLost || fault.action == FaultAction::kSessionPoisoned));
    if (ends) {
      ASSERT_TRUE(BothClosed());
      EXPECT_FALSE(a()->closed[mine_].ok());
      a_.node.reset();
      b_.node.reset();
      SetUp();
    } else {
      const WorkRequest work = MessageWork(mine_, AsBytes("alive"));
      DriveQuietly(both());
      ASSERT_TRUE(a()->PostAll({&work, 1}, both()));
      ASSERT_TRUE(Drive([&] { return !b()->messages.empty(); }));
      EXPECT_TRUE(a()->closed.empty() && b()->closed.empty());
      b()->messages.clear();
    }
    if (HasFatalFailure()) return;
  }
}

// By all connections of the device: the rail takes what was counted before it off.
TEST_F(VerbsOnFake, TellsWhatTheDeviceCountsAsSentAgain) {
  EXPECT_EQ(a()->transport()->Statistics(mine_).retransmits, 0u);
  fabric_->Count({.times_sent_again = 7, .packets_sent = 700});
  ASSERT_TRUE(Drive([&] { return a()->transport()->Statistics(mine_).retransmits == 7; }));
  EXPECT_EQ(a()->transport()->Statistics(mine_).bytes_between_losses, 100u * 4096);
  EXPECT_EQ(a()->transport()->Statistics(mine_ + 1).retransmits, 0u);
}

// Nothing comes back from a device that holds what was posted; closing takes it back all the same, with the memory.
TEST_F(VerbsOnFake, ClosingTakesBackWhatADeviceHolds) {
  constexpr uint64_t kSize = 1 << 20;
  Destination landing(b(), kSize);
  fabric_->HoldSends(true);
  std::vector<std::byte> payload = PatternBytes(kSize, 1);
  std::vector<WorkRequest> batch(20, WriteWork(mine_, AsBytes("header"), payload, landing, 0));
  for (WorkRequest& work : batch) work.signaled = true;
  ASSERT_EQ(a()->transport()->Post(batch), batch.size());
  a()->transport()->Close(mine_, absl::CancelledError("enough"));
  ASSERT_TRUE(BothClosed());
  EXPECT_EQ(a()->sent.size(), batch.size());
  EXPECT_EQ(ValueMismatch(landing.bytes, std::byte{0}), "");
}

// A hello of three pieces, of which the first two are answered by rejections.
TEST_F(VerbsOnFake, WhatIsLostOfAHandshakeIsAskedForAgain) {
  constexpr int64_t kQuickNs = 3'000'000'000;  // the connection manager itself would begin after 4.3 s
  const std::vector<std::byte> hello = PatternBytes(3 * kHelloPieceMax - 5, 1);
  for (const auto& [requests, rejections] : {std::pair(1, 0), {2, 0}, {0, 1}, {0, 2}, {1, 1}}) {
    SCOPED_TRACE(absl::StrCat(requests, " requests, ", rejections, " rejections"));
    fabric_->LoseRequests(requests);
    fabric_->LoseRejections(rejections);
    const auto id = a()->transport()->Connect(address_, 0, hello, nullptr, clock_.NowNs() + kQuickNs);
    ASSERT_TRUE(id.ok()) << id.status();
    ASSERT_TRUE(Drive([&] { return !b()->pending.empty() || a()->closed.count(*id) > 0; }));
    ASSERT_EQ(a()->closed.count(*id), 0u) << a()->closed[*id];
    EXPECT_EQ(b()->pending.front()->hello(), absl::MakeConstSpan(hello));
    ASSERT_TRUE(b()->transport()->Accept(std::move(b()->pending.front()), AsBytes("welcome"), nullptr).ok());
    b()->pending.pop_front();
    ASSERT_TRUE(Drive([&] { return a()->connected.count(*id) > 0; }));
    EXPECT_TRUE(b()->pending.empty());
  }
}

// The acceptor has answered, and hears no.
TEST_F(VerbsOnFake, APeerThatTurnsAwayBeforeItIsConnectedClosesTheConnection) {
  ASSERT_NO_FATAL_FAILURE(ConnectUntilAccepted());
  a()->transport()->Close(mine_, absl::CancelledError("enough"));
  ASSERT_TRUE(Drive([&] { return b()->closed.count(theirs_) > 0; }));
  EXPECT_EQ(b()->closed[theirs_].code(), absl::StatusCode::kUnavailable) << b()->closed[theirs_];
}

TEST_F(VerbsOnFake, AnAddressOfNoDeviceIsNoneToListenAt) {
  const auto bound = b()->transport()->Listen("127.9.9.9:0");
  EXPECT_EQ(bound.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(absl::StrContains(bound.status().message(), "fake0/1 127.0.0.1")) << bound.status();
  EXPECT_TRUE(b_.engine.verbs->CheckAddress("127.0.0.1:77").ok());
  EXPECT_TRUE(b_.engine.verbs->CheckAddress("0.0.0.0").ok());
  EXPECT_TRUE(b_.engine.verbs->CheckAddress("[::1]").ok());
  EXPECT_EQ(b_.engine.verbs->CheckAddress("192.0.2.1").code(), absl::StatusCode::kUnavailable);  // by no loopback
  EXPECT_EQ(b_.engine.verbs->CheckAddress("no such host").code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(b_.engine.verbs->CheckAddress("[::1").code(), absl::StatusCode::kInvalidArgument);
}

// Messages and writes that leave from where they lie: the peer's rail may have them, and the device may not know.
class VerbsHolds : public VerbsOnFake, public testing::WithParamInterface<WorkRequest::Kind> {
 protected:
  void SetUp() override {
    VerbsOnFake::SetUp();
    // One that is copied: what copies leave from is registered by now.
    const std::vector<std::byte> copied = PatternBytes(500, 1);
    const WorkRequest work = MessageWork(mine_, AsBytes("header"), copied);
    ASSERT_EQ(a()->transport()->Post({&work, 1}), 1u);
    ASSERT_TRUE(Drive([&] { return b()->messages.size() == 1; }));
    b()->messages.clear();
  }
  void TearDown() override {
    landing_.reset();
    VerbsOnFake::TearDown();
  }
  // Registers the payload, posts it so that no completion tells of it, and lets go of it.
  void SendAndLetGo() {
    if (GetParam() == WorkRequest::Kind::kWrite) landing_.emplace(b(), payload_.size());
    const size_t before = Registered();
    auto grant = a()->device_memory()->Register(absl::MakeSpan(payload_));
    ASSERT_TRUE(grant.ok()) << grant.status();
    WorkRequest work = MessageWork(mine_, AsBytes("header"), payload_);
    if (landing_.has_value()) work = WriteWork(mine_, AsBytes("header"), payload_, *landing_, 0);
    work.registered = grant->get();
    ASSERT_EQ(a()->transport()->Post({&work, 1}), 1u);
    EXPECT_EQ(Registered(), before + 1);
    grant->reset();
    EXPECT_EQ(Registered(), before + 1) << "the device may send it once more";
  }
  // Of this side's memory, beside the landing.
  size_t Registered() { return fabric_->counters().regions - (landing_.has_value() ? 1 : 0); }

  std::vector<std::byte> payload_ = PatternBytes(2048, 1);
  std::optional<Destination> landing_;
};

INSTANTIATE_TEST_SUITE_P(Of, VerbsHolds, testing::Values(WorkRequest::Kind::kMessage, WorkRequest::Kind::kWrite),
                         [](const auto& info) {
                           return info.param == WorkRequest::Kind::kMessage ? "messages" : "writes";
                         });

TEST_P(VerbsHolds, EndWithACompletionThatIsAskedForWhenTheyAreLetGo) {
  const size_t before = Registered();
  ASSERT_NO_FATAL_FAILURE(SendAndLetGo());
  const uint64_t posted = fabric_->counters().sends_posted;
  EXPECT_TRUE(Drive([&] { return Registered() == before; }));
  EXPECT_EQ(fabric_->counters().sends_posted, posted + 1);
  ASSERT_TRUE(Drive([&] { return !b()->messages.empty(); }));
}

TEST_P(VerbsHolds, EndWithTheConnectionWhereTheDeviceNeverGetsThere) {
  const size_t before = Registered();
  fabric_->HoldSends(true);
  ASSERT_NO_FATAL_FAILURE(SendAndLetGo());
  DriveQuietly(both());
  EXPECT_EQ(Registered(), before + 1);
  a()->transport()->Close(mine_, absl::CancelledError("enough"));
  ASSERT_TRUE(BothClosed());
  EXPECT_EQ(Registered(), before);
}

// A file in memory stands for the dma-buf, which the fake device takes it for.
class VerbsDmabuf : public VerbsOnFake {
 protected:
  static constexpr uint64_t kPage = 4096;
  static constexpr uint64_t kSize = 4 * kPage;

  void SetUp() override {
    VerbsOnFake::SetUp();
    fd_ = memfd_create("mcp-dmabuf", MFD_CLOEXEC);
    ASSERT_GE(fd_, 0);
    ASSERT_EQ(ftruncate(fd_, 2 * kSize), 0);
    void* mapped = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, kPage);
    ASSERT_NE(mapped, MAP_FAILED);
    bytes_ = {static_cast<std::byte*>(mapped), kSize};
  }
  void TearDown() override {
    if (!bytes_.empty()) munmap(bytes_.data(), bytes_.size());
    close(fd_);
    VerbsOnFake::TearDown();
  }

  int fd_ = -1;
  absl::Span<std::byte> bytes_;
};

TEST_F(VerbsDmabuf, IsWrittenLikeOtherMemory) {
  auto region = b()->device_memory()->Register({bytes_, fd_, kPage});
  ASSERT_TRUE(region.ok()) << region.status();
  close(std::exchange(fd_, -1));
  // The descriptor is the grant's own by now, and the part is where it is in the dma-buf.
  auto part = b()->device_memory()->Export((*region)->Part(bytes_.subspan(kPage, kPage)), kAccessRemoteWrite);
  ASSERT_TRUE(part.ok()) << part.status();
  EXPECT_EQ(fabric_->counters().dmabufs_registered, (std::vector<uint64_t>{kPage, 2 * kPage}));
  const std::vector<std::byte> payload = PatternBytes(kPage, 3);
  WorkRequest work;
  work.kind = WorkRequest::Kind::kPlace;
  work.connection = mine_;
  work.payload = payload.data();
  work.payload_bytes = payload.size();
  work.window = (*part)->window();
  ASSERT_EQ(a()->transport()->Post({&work, 1}), 1u);
  ASSERT_TRUE(Drive([&] { return !a()->done.empty(); }));
  EXPECT_TRUE(std::equal(payload.begin(), payload.end(), bytes_.begin() + kPage));
}

TEST_F(VerbsDmabuf, IsRefusedWhereADeviceTakesNone) {
  fabric_->TakeDmabufsAway();
  const auto region = b()->device_memory()->Register({bytes_, fd_, kPage});
  EXPECT_EQ(region.status().code(), absl::StatusCode::kFailedPrecondition) << region.status();
  EXPECT_TRUE(b()->device_memory()->Register(bytes_).ok()) << "as ordinary memory it is registered";
}

// Puts and gets that the peer's CPU has no part in.
class VerbsOneSided : public VerbsOnFake {
 protected:
  static constexpr uint64_t kSize = 64 << 10;

  void SetUp() override {
    VerbsOnFake::SetUp();
    if (HasFatalFailure()) return;
    auto near = a()->device_memory()->Register(absl::MakeSpan(near_));
    auto far = b()->device_memory()->Export(absl::MakeSpan(far_), kAccessRemoteRead | kAccessRemoteWrite);
    ASSERT_TRUE(near.ok() && far.ok());
    near_grant_ = *std::move(near);
    far_grant_ = *std::move(far);
  }
  void TearDown() override {
    near_grant_.reset();
    far_grant_.reset();
    VerbsOnFake::TearDown();
  }

  WorkRequest Work(WorkRequest::Kind kind, uint64_t number, uint64_t offset = 0, uint64_t length = kSize) {
    WorkRequest work;
    work.kind = kind;
    work.connection = mine_;
    work.payload = near_.data() + offset;
    work.payload_bytes = length;
    work.offset = offset;
    work.window = far_grant_->window();
    work.registered = near_grant_.get();
    work.work_id = number;
    return work;
  }
  bool DriveAloneUntilDone(uint64_t number) {
    TransportNode* alone[] = {a()};
    return DriveUntil(
        alone, [&] { return !a()->done.empty() && a()->done.back() == number; }, kPatienceNs);
  }

  std::vector<std::byte> near_ = PatternBytes(kSize, 1);
  std::vector<std::byte> far_ = PatternBytes(kSize, 2);
  std::unique_ptr<DeviceMemory::Grant> near_grant_;
  std::unique_ptr<DeviceMemory::Grant> far_grant_;
};

TEST_F(VerbsOneSided, PlacesAndFetchesWithoutThePeer) {
  // The first is short enough to leave inside its work request.
  ASSERT_EQ(a()->transport()->Post(
                {Work(WorkRequest::Kind::kPlace, 1, 0, 100), Work(WorkRequest::Kind::kPlace, 2, 100, 5000)}),
            2u);
  ASSERT_TRUE(DriveAloneUntilDone(2));
  EXPECT_TRUE(std::equal(near_.begin(), near_.begin() + 5100, far_.begin()));
  EXPECT_TRUE(std::equal(far_.begin() + 5100, far_.end(), PatternBytes(kSize, 2).begin() + 5100));
  ASSERT_EQ(a()->transport()->Post({Work(WorkRequest::Kind::kFetch, 3)}), 1u);
  ASSERT_TRUE(DriveAloneUntilDone(3));
  EXPECT_EQ(near_, far_);
}

TEST_F(VerbsOneSided, BulkAsksForOneCompletionInThirtyTwo) {
  constexpr uint64_t kWorks = 6400;
  const FakeFabric::Counters before = fabric_->counters();
  uint64_t posted = 0;
  while (posted < kWorks) {
    std::vector<WorkRequest> batch;
    for (uint64_t i = 0; i < 64 && posted + i < kWorks; ++i) {
      batch.push_back(Work(WorkRequest::Kind::kPlace, posted + i + 1, 0, 4096));
    }
    posted += a()->transport()->Post(batch);
    a()->Poll();
  }
  ASSERT_TRUE(DriveAloneUntilDone(kWorks));
  const FakeFabric::Counters after = fabric_->counters();
  EXPECT_EQ(after.sends_posted - before.sends_posted, kWorks);
  EXPECT_LE(after.send_completions - before.send_completions, kWorks / 32);
}

// Without an answer nothing is done, and room is left for messages.
TEST_F(VerbsOneSided, LeavesRoomForMessages) {
  fabric_->HoldSends(true);
  uint64_t posted = 0;
  const WorkRequest place = Work(WorkRequest::Kind::kPlace, 1, 0, 4096);
  while (a()->transport()->Post({&place, 1}) == 1) ++posted;
  EXPECT_EQ(posted, kSendQueueDepth - kOneSidedReserve);
  const WorkRequest message = MessageWork(mine_, AsBytes("header"));
  EXPECT_EQ(a()->transport()->Post({&message, 1}), 1u);
  a()->Poll();
  EXPECT_TRUE(a()->done.empty());
  a()->transport()->Close(mine_, absl::CancelledError("enough"));
  ASSERT_TRUE(BothClosed());
  EXPECT_TRUE(a()->done.empty()) << "what was never done is not said to be";
}

// What was done before a failure is said to be done; the rest is not.
TEST_F(VerbsOneSided, SaysWhatWasDoneBeforeAFailure) {
  auto revoked = b()->device_memory()->Export(absl::MakeSpan(far_), kAccessRemoteWrite);
  ASSERT_TRUE(revoked.ok());
  WorkRequest stale = Work(WorkRequest::Kind::kPlace, 3, 0, 4096);
  stale.window = (*revoked)->window();
  revoked->reset();
  const std::vector<std::byte> untouched(far_.begin(), far_.begin() + 4096);
  ASSERT_EQ(a()->transport()->Post({Work(WorkRequest::Kind::kPlace, 1, 4096, 4096),
                                    Work(WorkRequest::Kind::kPlace, 2, 8192, 4096), stale,
                                    Work(WorkRequest::Kind::kPlace, 4, 12288, 4096)}),
            4u);
  ASSERT_TRUE(BothClosed());
  ASSERT_EQ(a()->done, std::vector<uint64_t>{2});
  EXPECT_TRUE(std::equal(untouched.begin(), untouched.end(), far_.begin())) << "a stale key wrote";
  EXPECT_EQ(fabric_->counters().access_errors, 1u);
}

}  // namespace
}  // namespace mcp::internal
