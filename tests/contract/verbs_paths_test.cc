// The verbs transport where hosts have several devices: which way each rail goes, and what happens when that is none.
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gtest/gtest.h"
#include "tests/contract/transport_fixture.h"
#include "tests/support/fake_verbs.h"
#include "transports/verbs/handshake.h"
#include "transports/verbs/network.h"

namespace mcp::internal {
namespace {

// Two engines of two devices each: fake0 at 127.0.0.1, fake1 at 127.0.1.1. The acceptor listens on both.
class VerbsOnTwoDevices : public testing::Test {
 protected:
  struct Side {
    TransportEngine engine;
    std::unique_ptr<TransportNode> node;
  };

  void SetUp() override { Start("0.0.0.0:0", {}); }
  void Start(absl::string_view listen_at, const std::vector<std::string>& devices) {
    a_.node.reset();
    b_.node.reset();
    for (Side* side : {&a_, &b_}) {
      VerbsConfig config;
      if (side == &a_) config.devices = devices;
      if (side == &a_) config.gid_index = gid_index_;
      side->engine.regions = std::make_unique<RegionTable>(64, Random(1));
      auto network = VerbsNetworkImpl::Create(config, log_.logger(), FakeVerbsCalls(fabric_));
      ASSERT_TRUE(network.ok()) << network.status();
      side->engine.verbs = *std::move(network);
      auto transport = MakeVerbsTransport(side->engine.verbs, &clock_, 0);
      ASSERT_TRUE(transport.ok()) << transport.status();
      side->node = std::make_unique<TransportNode>(&side->engine, 0, *std::move(transport));
    }
    const auto bound = b()->transport()->Listen(listen_at);
    ASSERT_TRUE(bound.ok()) << bound.status();
    port_ = bound->substr(bound->rfind(':'));
  }

  TransportNode* a() { return a_.node.get(); }
  TransportNode* b() { return b_.node.get(); }
  // Which addresses the connection was made between, "fake0 127.0.0.1" for each side; or why not.
  std::string PathTaken(uint32_t path) {
    TransportNode* both[] = {a(), b()};
    a()->closed.clear();  // ids are used again
    a()->connected.clear();
    const std::vector<std::byte> hello = PatternBytes(2 * kHelloPieceMax, 1);
    const auto id = a()->transport()->Connect("127.0.0.1" + port_, path, hello, nullptr, clock_.NowNs() + kPatienceNs);
    if (!id.ok()) return id.status().ToString();
    mine_ = *id;
    DriveUntil(
        both, [&] { return !b()->pending.empty() || a()->closed.count(mine_) > 0; }, kPatienceNs);
    if (b()->pending.empty()) return a()->closed[mine_].ToString();
    const auto accepted = b()->transport()->Accept(std::move(b()->pending.front()), AsBytes("welcome"), nullptr);
    b()->pending.pop_front();
    if (!accepted.ok()) return accepted.status().ToString();
    theirs_ = *accepted;
    DriveUntil(
        both, [&] { return a()->connected.count(mine_) > 0 || a()->closed.count(mine_) > 0; }, kPatienceNs);
    if (a()->closed.count(mine_) > 0) return a()->closed[mine_].ToString();
    return absl::StrCat(DeviceOf(a(), mine_), " to ", DeviceOf(b(), theirs_));
  }
  static std::string DeviceOf(TransportNode* node, ConnectionId id) {
    const ConnectionDescription description = node->transport()->Describe(id);
    if (description.notes.empty()) return "no device";
    return description.notes.front().substr(sizeof("device ") - 1, sizeof("fake0") - 1);
  }
  std::string Notes() { return absl::StrJoin(a()->transport()->Describe(mine_).notes, "\n"); }

  LogGuard log_;
  SystemClock clock_;
  std::shared_ptr<FakeFabric> fabric_ = std::make_shared<FakeFabric>(FakeFabric::Kind::kChecked, 2);
  Side a_;
  Side b_;
  std::string port_;
  int gid_index_ = -1;  // that the connecting side asks for
  ConnectionId mine_ = 0;
  ConnectionId theirs_ = 0;
};

TEST_F(VerbsOnTwoDevices, RailsTakeThemInTurn) {
  EXPECT_EQ(PathTaken(0), "fake0 to fake0");
  EXPECT_EQ(PathTaken(1), "fake1 to fake1");
  EXPECT_EQ(PathTaken(2), "fake0 to fake0");
  EXPECT_EQ(PathTaken(3), "fake1 to fake1");
}

// Memory is known to both devices of a side, each by a key of its own.
TEST_F(VerbsOnTwoDevices, WritesLandByEither) {
  for (const uint32_t path : {0u, 1u}) {
    ASSERT_EQ(PathTaken(path), path == 0 ? "fake0 to fake0" : "fake1 to fake1");
    TransportNode* both[] = {a(), b()};
    Destination landing(b(), 4096);
    const std::vector<std::byte> payload = PatternBytes(4096, path + 1);
    const WorkRequest work = WriteWork(mine_, AsBytes("header"), payload, landing, 0);
    const size_t before = b()->messages.size();
    ASSERT_TRUE(a()->PostAll({&work, 1}, both));
    ASSERT_TRUE(DriveUntil(
        both, [&] { return b()->messages.size() > before; }, kPatienceNs));
    EXPECT_EQ(landing.bytes, payload);
  }
}

TEST_F(VerbsOnTwoDevices, APathThatIsCutIsPassedOverAndNamed) {
  EXPECT_EQ(PathTaken(0), "fake0 to fake0");
  fabric_->Cut("127.0.1.1");
  EXPECT_EQ(PathTaken(1), "fake0 to fake0");
  EXPECT_TRUE(absl::StrContains(Notes(), "path not taken")) << Notes();
  EXPECT_TRUE(absl::StrContains(Notes(), "127.0.1.1")) << Notes();
  fabric_->Cut("127.0.0.1");
  EXPECT_TRUE(absl::StrContains(PathTaken(1), "RDMA_CM_EVENT_ADDR_ERROR"));
}

// A device that has gone since is not tried; its rails find the other.
TEST_F(VerbsOnTwoDevices, AGoneDeviceIsNotTried) {
  EXPECT_EQ(PathTaken(0), "fake0 to fake0");
  auto& network = static_cast<VerbsNetworkImpl&>(*a_.engine.verbs);
  network.ReportGone(network.device(0));
  EXPECT_EQ(PathTaken(0), "fake1 to fake0");
  EXPECT_EQ(PathTaken(1), "fake1 to fake1");
}

// Of two that are as good otherwise.
TEST_F(VerbsOnTwoDevices, TheOneThatIsNearComesFirst) {
  const auto first = [this] {
    const auto network = VerbsNetworkImpl::Create({}, log_.logger(), FakeVerbsCalls(fabric_));
    return network.ok() ? (*network)->device(0).opened.name : network.status().ToString();
  };
  EXPECT_EQ(first(), "fake0");
  fabric_->MoveFar(0);
  EXPECT_EQ(first(), "fake1");
  const auto asked = VerbsNetworkImpl::Create({.devices = {"fake0"}}, log_.logger(), FakeVerbsCalls(fabric_));
  ASSERT_TRUE(asked.ok()) << asked.status();
  EXPECT_EQ((*asked)->device(0).opened.name, "fake0");
}

// What the kernel refuses to tell is asked for, and missed, only where it makes a difference.
TEST_F(VerbsOnTwoDevices, NodesOfMemoryThatAreNotToldAreMissed) {
  const auto fallbacks = [this] {
    const auto network = VerbsNetworkImpl::Create({}, log_.logger(), FakeVerbsCalls(fabric_));
    return network.ok() ? (*network)->Fallbacks() : std::vector<TransportFallback>();
  };
  fabric_->HideNodes();
  EXPECT_TRUE(fallbacks().empty());
  fabric_->SetDistances(0, {10, 21});
  fabric_->SetDistances(1, {21, 10});
  ASSERT_EQ(fallbacks().size(), 1u);
  EXPECT_TRUE(absl::StrContains(fallbacks().front().reason, "EPERM")) << fallbacks().front().reason;
}

// Two ports of one device: 127.0.0.1 and 127.1.0.1.
class VerbsOnTwoPorts : public VerbsOnTwoDevices {
 protected:
  VerbsOnTwoPorts() { fabric_ = std::make_shared<FakeFabric>(FakeFabric::Kind::kChecked, 1, 2); }

  std::string PortsTaken(uint32_t path) {
    const std::string taken = PathTaken(path);
    if (taken != "fake0 to fake0") return taken;
    return absl::StrCat(PortOf(a(), mine_), " to ", PortOf(b(), theirs_));
  }
  static std::string PortOf(TransportNode* node, ConnectionId id) {
    const std::string note = node->transport()->Describe(id).notes.front();
    return note.substr(note.rfind(' ') + 1);
  }
};

TEST_F(VerbsOnTwoPorts, RailsTakeThemInTurn) {
  EXPECT_EQ(a()->transport()->info().device, "fake0/1, fake0/2");
  EXPECT_EQ(PortsTaken(0), "1 to 1");
  EXPECT_EQ(PortsTaken(1), "2 to 2");
  EXPECT_EQ(PortsTaken(2), "1 to 1");
  fabric_->Cut("127.1.0.1");
  EXPECT_EQ(PortsTaken(1), "1 to 1");
}

// A device knows its memory once, whatever port it is asked by.
TEST_F(VerbsOnTwoPorts, MemoryIsRegisteredOnce) {
  for (const uint32_t path : {0u, 1u}) {
    ASSERT_EQ(PathTaken(path), "fake0 to fake0");
    TransportNode* both[] = {a(), b()};
    const size_t before = fabric_->counters().regions;
    Destination landing(b(), 4096);
    EXPECT_EQ(fabric_->counters().regions, before + 1);
    const std::vector<std::byte> payload = PatternBytes(4096, path + 1);
    const WorkRequest work = WriteWork(mine_, AsBytes("header"), payload, landing, 0);
    const size_t seen = b()->messages.size();
    ASSERT_TRUE(a()->PostAll({&work, 1}, both));
    ASSERT_TRUE(DriveUntil(
        both, [&] { return b()->messages.size() > seen; }, kPatienceNs));
    EXPECT_EQ(landing.bytes, payload);
  }
}

// With the device both of its ports go.
TEST_F(VerbsOnTwoPorts, AGoneDeviceIsGoneByBothPorts) {
  EXPECT_EQ(PortsTaken(0), "1 to 1");
  auto& network = static_cast<VerbsNetworkImpl&>(*a_.engine.verbs);
  network.ReportGone(network.device(1));
  EXPECT_TRUE(network.device(0).gone.load());
}

TEST_F(VerbsOnTwoPorts, OneMayBeAskedFor) {
  Start("0.0.0.0:0", {"fake0/2"});
  EXPECT_EQ(PortsTaken(0), "2 to 1");
  EXPECT_EQ(PortsTaken(1), "2 to 2");
  EXPECT_TRUE(absl::StrContains(Notes(), "fake0/1: not asked for")) << Notes();
  Start("0.0.0.0:0", {"fake0"});
  EXPECT_EQ(a()->transport()->info().device, "fake0/1, fake0/2");
}

TEST_F(VerbsOnTwoDevices, AListenerOfOneAddressTellsOfNoOther) {
  Start("127.0.0.1:0", {});
  EXPECT_EQ(PathTaken(0), "fake0 to fake0");
  EXPECT_EQ(PathTaken(1), "fake1 to fake0");
}

TEST_F(VerbsOnTwoDevices, ThoseAskedForAreTakenInThatOrder) {
  Start("0.0.0.0:0", {"fake1", "fake0/1"});
  EXPECT_EQ(PathTaken(0), "fake1 to fake0");
  EXPECT_EQ(PathTaken(1), "fake0 to fake1");
  Start("0.0.0.0:0", {"fake1"});
  EXPECT_EQ(PathTaken(0), "fake1 to fake0");
  EXPECT_EQ(PathTaken(1), "fake1 to fake1");
  EXPECT_TRUE(absl::StrContains(Notes(), "fake0/1: not asked for")) << Notes();
  const auto none = VerbsNetworkImpl::Create({.devices = {"fake1", "mlx5_0"}}, log_.logger(), FakeVerbsCalls(fabric_));
  EXPECT_EQ(none.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(absl::StrContains(none.status().message(), "mlx5_0")) << none.status();
}

// GIDs of 127.0.0.1 and 127.0.1.1 are 0, of RoCE v2, and 2, of v1; 1 is of [::1].
class VerbsByGid : public VerbsOnTwoDevices {
 protected:
  void SetUp() override {}
  std::string PathTakenBy(int gid_index, FakeFabric::RoceMode mode) {
    fabric_->AddRoceV1(mode);
    gid_index_ = gid_index;
    Start("0.0.0.0:0", {});
    return PathTaken(0);
  }
};

TEST_F(VerbsByGid, ConnectsByTheOneThatIsAskedFor) {
  EXPECT_EQ(PathTakenBy(0, FakeFabric::RoceMode::kV2), "fake0 to fake0");
  EXPECT_TRUE(absl::StrContains(Notes(), "GID ::ffff:127.0.0.1 (index 0, RoCE v2)")) << Notes();
  EXPECT_EQ(PathTaken(1), "fake1 to fake1");
  EXPECT_EQ(PathTakenBy(2, FakeFabric::RoceMode::kV1), "fake0 to fake0");
  EXPECT_TRUE(absl::StrContains(Notes(), "GID ::ffff:127.0.0.1 (index 2, RoCE v1)")) << Notes();
}

TEST_F(VerbsByGid, RefusesWhereTheKernelTakesTheOther) {
  for (const auto& [asked, taken, mode] : {std::tuple(2, "index 0, RoCE v2", FakeFabric::RoceMode::kV2),
                                           std::tuple(0, "index 2, RoCE v1", FakeFabric::RoceMode::kV1)}) {
    const std::string why = PathTakenBy(asked, mode);
    EXPECT_TRUE(absl::StrContains(why, absl::StrCat("(index ", asked, ", RoCE v"))) << why;
    EXPECT_TRUE(absl::StrContains(why, absl::StrCat("goes by ::ffff:127.0.0.1 (", taken))) << why;
    EXPECT_TRUE(absl::StrContains(why, "rdma_cm/fake0/ports/1/default_roce_mode")) << why;
    TransportNode* both[] = {a(), b()};
    EXPECT_TRUE(DriveUntil(
        both, [&] { return b()->closed.count(theirs_) > 0; }, kPatienceNs));
  }
}

TEST_F(VerbsByGid, RefusesWhereItsAddressIsOfTheOtherFamily) {
  const std::string why = PathTakenBy(1, FakeFabric::RoceMode::kV2);
  EXPECT_TRUE(absl::StrContains(why, "no GID of index 1 stands for an address")) << why;
  EXPECT_TRUE(b()->pending.empty());
}

}  // namespace
}  // namespace mcp::internal
