// Sessions over devices that fail: a request that ends in an error in the middle of transfers, one of two devices that
// goes. What a path may be blamed for is mended and nobody notices; what is no path's fault ends the session.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/contract/session_fixture.h"
#include "tests/support/fake_verbs.h"
#include "tests/support/pattern.h"
#include "transports/verbs/faults.h"

namespace mcp::internal {
namespace {

constexpr uint64_t kLarge = 6 << 20;
constexpr size_t kClient = 0;  // the order in which the fixture makes engines
constexpr size_t kServer = 1;

std::vector<SessionCase> CasesOf(const std::vector<int>& rail_counts) {
  std::vector<SessionCase> cases;
  for (const bool checksum : {true, false}) {
    for (const int lanes : {0, 2}) {
      for (const int rails : rail_counts) cases.push_back({TransportKind::kVerbsFake, lanes, rails, checksum});
    }
  }
  return cases;
}

class VerbsSession : public SessionContract {
 protected:
  void SetUp() override {
    SessionContract::SetUp();
    if (HasFatalFailure()) return;
    // The accepting side has a rail when it has heard from its peer there.
    ASSERT_TRUE(Drive([this] {
      const SessionDescription description = server().Describe();
      return std::none_of(description.rails.begin(), description.rails.end(),
                          [](const RailDescription& rail) { return rail.remote.empty(); });
    }));
    near_ = &NewMemory(client_engine(), 4 * kLarge);
    far_ = &NewMemory(server_engine(), 4 * kLarge);
    remote_ = Export(*far_);
  }

  SessionOptions Options() override {
    SessionOptions options = SessionContract::Options();
    options.recovery_timeout = std::chrono::seconds(5);  // this is about what is mended, not about how soon
    options.rails_on_first_use = false;                  // and about rails that both sides have had
    return options;
  }

  // A put, a get, and a message each way, all at once; `seed` tells their bytes from those before.
  void StartTransfers(uint64_t seed) {
    seed_ = seed;
    for (const uint64_t part : {0, 2}) near_->Fill(part * kLarge, kLarge, seed + part);
    for (const uint64_t part : {1, 3}) far_->Fill(part * kLarge, kLarge, seed + part);
    started_ = {ops().Put(client(), near_->Part(0, kLarge), remote_, 0),
                ops().Get(client(), near_->Part(kLarge, kLarge), remote_, kLarge),
                ops().Receive(server(), 1, far_->Part(2 * kLarge, kLarge)),
                ops().Send(client(), 1, near_->Part(2 * kLarge, kLarge)),
                ops().Receive(client(), 2, near_->Part(3 * kLarge, kLarge)),
                ops().Send(server(), 2, far_->Part(3 * kLarge, kLarge))};
  }
  void ExpectTransferred() {
    ASSERT_TRUE(FinishAll());
    for (const auto index : started_)
      EXPECT_TRUE(ops().status(index).ok()) << ops().at(index).what << ops().status(index);
    for (const uint64_t part : {0, 2}) EXPECT_EQ(far_->Mismatch(part * kLarge, kLarge, seed_ + part), "");
    for (const uint64_t part : {1, 3}) EXPECT_EQ(near_->Mismatch(part * kLarge, kLarge, seed_ + part), "");
  }
  Memory* near_ = nullptr;
  Memory* far_ = nullptr;
  RemoteRegion remote_;
  uint64_t seed_ = 0;
  std::vector<Operations::Index> started_;
};

INSTANTIATE_TEST_SUITE_P(Every, VerbsSession, testing::ValuesIn(CasesOf({1, 2, 4})), SessionCaseName);

std::vector<SessionCase> ProtectedCases() {
  std::vector<SessionCase> cases = CasesOf({1, 2});
  for (SessionCase& protect : cases) protect.protect = true;
  return cases;
}
INSTANTIATE_TEST_SUITE_P(Protected, VerbsSession, testing::ValuesIn(ProtectedCases()), SessionCaseName);

// Each status that costs a rail, at several moments: the first request, one in the middle of a batch, a late one.
TEST_P(VerbsSession, AFailedRequestInTheMiddleOfTransfersIsMended) {
  uint64_t losses = 0;
  for (const ibv_wc_status status : {IBV_WC_RETRY_EXC_ERR, IBV_WC_RNR_RETRY_EXC_ERR, IBV_WC_REM_OP_ERR,
                                     IBV_WC_RESP_TIMEOUT_ERR, IBV_WC_GENERAL_ERR}) {
    ASSERT_EQ(FaultOf(status).action, FaultAction::kRailLost);
    for (const uint64_t after : {0, 3, 10}) {
      SCOPED_TRACE(absl::StrCat(ibv_wc_status_str(status), " after ", after));
      world().fabric()->FailNext(status, after);
      StartTransfers(10 * losses);
      ExpectTransferred();
      ASSERT_EQ(world().fabric()->counters().failures, ++losses);
      ASSERT_TRUE(Drive([&] {
        return client().Statistics().reconnections >= losses && server().Statistics().reconnections >= losses;
      }));
    }
  }
  EXPECT_TRUE(client().status().ok()) << client().status();
}

class VerbsSessionThatEnds : public VerbsSession {
 protected:
  SessionOptions Options() override {
    SessionOptions options = SessionContract::Options();
    options.rails_on_first_use = false;
    return options;
  }
};
INSTANTIATE_TEST_SUITE_P(Every, VerbsSessionThatEnds, testing::ValuesIn(CasesOf({1, 2, 4})), SessionCaseName);
INSTANTIATE_TEST_SUITE_P(Protected, VerbsSessionThatEnds, testing::ValuesIn(ProtectedCases()), SessionCaseName);

// Another connection would be no better: everything ends, with what the device said. The peer is told at once where a
// rail is left to tell it on; on the only one it sees a lost rail, which nobody makes anew within the recovery timeout.
TEST_P(VerbsSessionThatEnds, AFailedRequestThatIsNoPathsFaultEndsTheSession) {
  world().log()->AllowErrors();
  world().fabric()->FailNext(IBV_WC_LOC_PROT_ERR, 5);
  StartTransfers(1);
  ASSERT_TRUE(FinishAll());
  EXPECT_EQ(world().fabric()->counters().failures, 1u);
  for (Session* session : {&client(), &server()}) ASSERT_TRUE(Drive([&] { return !session->status().ok(); }));
  const bool told = absl::StrContains(client().status().message(), FaultOf(IBV_WC_LOC_PROT_ERR).cause) ||
                    absl::StrContains(server().status().message(), FaultOf(IBV_WC_LOC_PROT_ERR).cause);
  EXPECT_TRUE(told) << client().status() << "; " << server().status();
  EXPECT_EQ(client().Statistics().reconnections, 0u);
}

class VerbsSessionThatStreams : public VerbsSession {
 protected:
  EngineWorld::Setup WorldSetup() override {
    EngineWorld::Setup setup = VerbsSession::WorldSetup();
    setup.context.policy = "fixed";
    setup.context.fixed.protocol = Protocol::kStream;
    return setup;
  }
  // Of one message.
  uint64_t Requests() {
    const uint64_t before = world().fabric()->counters().sends_posted;
    near_->Fill(0, kLarge, ++seed_);
    const auto received = ops().Receive(server(), seed_, far_->Part(0, kLarge));
    const auto sent = ops().Send(client(), seed_, near_->Part(0, kLarge));
    EXPECT_TRUE(FinishAll());
    EXPECT_TRUE(ops().status(sent).ok() && ops().status(received).ok());
    EXPECT_EQ(far_->Mismatch(0, kLarge, seed_), "");
    return world().fabric()->counters().sends_posted - before;
  }
};
INSTANTIATE_TEST_SUITE_P(Every, VerbsSessionThatStreams, testing::ValuesIn(CasesOf({2})), SessionCaseName);

// Each tile goes in 32 of them at most. What ports count is known to a rail a tenth of a second later.
TEST_P(VerbsSessionThatStreams, WherePacketsAreLostRequestsAreShort) {
  constexpr uint64_t kShort = 6 * 32;
  EXPECT_LT(Requests(), kShort);
  bool are_short = false;
  for (int i = 0; i < 100 && !are_short; ++i) {
    world().fabric()->Count({.times_sent_again = 10, .packets_sent = 1000});
    Drive([] { return false; }, 10'000'000);
    are_short = Requests() >= kShort;
  }
  EXPECT_TRUE(are_short);
}

// Soft-RoCE, where the link is down, refuses requests as if they were malformed.
TEST_P(VerbsSession, WhatAPortRefusesThatIsDownIsMended) {
  world().fabric()->SetPortsDown(true);
  world().fabric()->FailNext(IBV_WC_LOC_QP_OP_ERR, 5);
  StartTransfers(1);
  ExpectTransferred();
  EXPECT_EQ(world().fabric()->counters().failures, 1u);
  EXPECT_TRUE(client().status().ok()) << client().status();
}

// A file in memory stands for the dma-buf. The fake device knows it, and refuses to take it for plain memory.
TEST_P(VerbsSession, MemoryOfADmabufIsGotByItsOwnRegistration) {
  const int fd = memfd_create("mcp-dmabuf", MFD_CLOEXEC);
  ASSERT_GE(fd, 0);
  ASSERT_EQ(ftruncate(fd, kLarge), 0);
  void* const mapped = mmap(nullptr, kLarge, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ASSERT_NE(mapped, MAP_FAILED);
  const absl::Span<std::byte> bytes(static_cast<std::byte*>(mapped), kLarge);
  FillPattern(bytes, 1);
  auto region = server_engine()->Register(mapped, kLarge, {.dmabuf_fd = fd});
  ASSERT_TRUE(region.ok()) << region.status();
  const auto remote = region->Export(RemoteAccess::kRead);
  ASSERT_TRUE(remote.ok()) << remote.status();
  uint64_t offset = 0;
  for (const uint64_t size : {uint64_t{64}, uint64_t{4096}, uint64_t{64} << 10, uint64_t{1} << 20, kLarge / 2}) {
    const auto got = ops().Get(client(), near_->Part(0, size), *remote, offset);
    ASSERT_TRUE(FinishAll());
    EXPECT_TRUE(ops().status(got).ok()) << size << " bytes: " << ops().status(got);
    EXPECT_EQ(PatternMismatch(near_->Bytes(0, size), 1, offset), "") << size << " bytes";
    offset += size;
  }
  EXPECT_TRUE(client().status().ok()) << client().status();
  ends_ = EngineWorld::Ends();  // the last answer may wait for its acknowledgement, and the region for that
  *region = Region();
  munmap(mapped, kLarge);
  close(fd);
}

// Devices of which one has fewer RDMA reads under way than the other would send.
template <int client_reads, int server_reads>
class VerbsSessionOfUnevenHosts : public VerbsSession {
 protected:
  EngineWorld::Setup WorldSetup() override {
    EngineWorld::Setup setup = VerbsSession::WorldSetup();
    setup.reads = {client_reads, server_reads};
    return setup;
  }
  void EachGetsFromTheOther() {
    StartTransfers(1);
    ExpectTransferred();
    const auto got = ops().Get(server(), far_->Part(kLarge, kLarge), Export(*near_), 0);
    ASSERT_TRUE(FinishAll());
    EXPECT_TRUE(ops().status(got).ok()) << ops().status(got);
    EXPECT_EQ(PatternMismatch(far_->Bytes(kLarge, kLarge), seed_), "");
    EXPECT_TRUE(client().status().ok()) << client().status();
  }
};

using VerbsSessionToALesserHost = VerbsSessionOfUnevenHosts<16, 4>;
using VerbsSessionFromALesserHost = VerbsSessionOfUnevenHosts<4, 16>;
INSTANTIATE_TEST_SUITE_P(Every, VerbsSessionToALesserHost, testing::ValuesIn(CasesOf({2})), SessionCaseName);
INSTANTIATE_TEST_SUITE_P(Every, VerbsSessionFromALesserHost, testing::ValuesIn(CasesOf({2})), SessionCaseName);

TEST_P(VerbsSessionToALesserHost, EachGetsFromTheOther) { EachGetsFromTheOther(); }
TEST_P(VerbsSessionFromALesserHost, EachGetsFromTheOther) { EachGetsFromTheOther(); }

// Hosts of two devices, of which a session takes both.
class VerbsSessionOnTwoDevices : public VerbsSession {
 protected:
  EngineWorld::Setup WorldSetup() override {
    EngineWorld::Setup setup = VerbsSession::WorldSetup();
    setup.devices = 2;
    return setup;
  }
  // Both carry payload; then that one of that engine goes in the middle of transfers, and the other carries it all.
  void OneIsLost(size_t engine, uint8_t device) {
    world().log()->AllowErrors();  // that a device has gone is one
    StartTransfers(1);
    ExpectTransferred();
    for (const uint8_t each : {0, 1}) EXPECT_GE(world().fabric()->BytesMoved(engine, each), kLarge / 2);

    const uint64_t before = world().fabric()->BytesMoved(engine, device);
    world().fabric()->LoseDevice(engine, device, kLarge / 8);
    StartTransfers(100);
    ExpectTransferred();
    EXPECT_GT(world().fabric()->BytesMoved(engine, device), before + kLarge / 8) << "it did not go";
    const auto lost = static_cast<uint64_t>(GetParam().rails / 2);
    ASSERT_TRUE(Drive([&] { return client().Statistics().reconnections >= lost; }));

    const uint64_t gone = world().fabric()->BytesMoved(engine, device);
    StartTransfers(200);
    ExpectTransferred();
    EXPECT_EQ(world().fabric()->BytesMoved(engine, device), gone) << "a device that has gone was used";
    EXPECT_TRUE(client().status().ok()) << client().status();
  }
};

INSTANTIATE_TEST_SUITE_P(Every, VerbsSessionOnTwoDevices, testing::ValuesIn(CasesOf({2, 4})), SessionCaseName);

TEST_P(VerbsSessionOnTwoDevices, TheClientsSecondGoes) { OneIsLost(kClient, 1); }
TEST_P(VerbsSessionOnTwoDevices, TheClientsFirstGoes) { OneIsLost(kClient, 0); }
TEST_P(VerbsSessionOnTwoDevices, TheServersSecondGoes) { OneIsLost(kServer, 1); }
TEST_P(VerbsSessionOnTwoDevices, TheServersFirstGoes) { OneIsLost(kServer, 0); }

// Two devices of two ports, all of which a session takes.
class VerbsSessionOnFourPorts : public VerbsSessionOnTwoDevices {
 protected:
  EngineWorld::Setup WorldSetup() override {
    EngineWorld::Setup setup = VerbsSessionOnTwoDevices::WorldSetup();
    setup.ports = 2;
    return setup;
  }
  // Each carries payload; then one is lost in the middle of transfers, and what went by it goes by the other three.
  void OnePortIsLost(size_t engine, uint8_t device, uint8_t port) {
    FakeFabric& fabric = *world().fabric();
    StartTransfers(1);
    ExpectTransferred();
    for (const uint8_t each : {0, 1}) {
      for (const uint8_t of : {1, 2})
        EXPECT_GE(fabric.BytesMoved(engine, each, of), kLarge / 4) << int{each} << int{of};
    }

    const uint64_t before = fabric.BytesMoved(engine, device, port);
    fabric.LosePort(engine, device, port, kLarge / 16);
    StartTransfers(100);
    ExpectTransferred();
    EXPECT_GT(fabric.BytesMoved(engine, device, port), before + kLarge / 16) << "it was not lost";
    ASSERT_TRUE(Drive([&] { return client().Statistics().reconnections >= 1; }));
    EXPECT_EQ(client().Statistics().reconnections, 1u) << "others were lost with it";

    const uint64_t lost = fabric.BytesMoved(engine, device, port);
    const auto other = static_cast<uint8_t>(3 - port);
    const uint64_t beside = fabric.BytesMoved(engine, device, other);
    StartTransfers(200);
    ExpectTransferred();
    EXPECT_EQ(fabric.BytesMoved(engine, device, port), lost) << "a port that is lost was used";
    EXPECT_GE(fabric.BytesMoved(engine, device, other), beside + kLarge / 4);
    EXPECT_TRUE(client().status().ok()) << client().status();
  }
};

INSTANTIATE_TEST_SUITE_P(Every, VerbsSessionOnFourPorts, testing::ValuesIn(CasesOf({4})), SessionCaseName);

TEST_P(VerbsSessionOnFourPorts, TheClientsSecondDeviceGoes) { OneIsLost(kClient, 1); }
TEST_P(VerbsSessionOnFourPorts, TheServersFirstDeviceGoes) { OneIsLost(kServer, 0); }
TEST_P(VerbsSessionOnFourPorts, APortOfTheClientGoes) { OnePortIsLost(kClient, 0, 2); }
TEST_P(VerbsSessionOnFourPorts, APortOfTheServerGoes) { OnePortIsLost(kServer, 1, 1); }

}  // namespace
}  // namespace mcp::internal
