#include "tools/mcp_info/choice.h"

#include "gtest/gtest.h"
#include "tools/mcp_info/advice.h"

namespace mcp::info {
namespace {

constexpr char kHere[] = "10.0.0.1";
constexpr char kThere[] = "10.0.0.2";

// A host with one RoCE device: GIDs of all kinds, the good one last.
Facts WithDevice() {
  Facts facts;
  facts.transports = {{"verbs", true, ""}, {"tcp", true, ""}};
  Interface interface;
  interface.name = "eth2";
  interface.addresses = {kHere, "fe80::1"};
  interface.rdma_device = "mlx5_0";
  facts.interfaces = {interface};
  Port port;
  port.number = 1;
  port.state = "ACTIVE";
  port.physical_state = "LinkUp";
  port.link_layer = "Ethernet";
  port.gids = {{0, "fe80::", "fe80::1", "RoCE v1", "eth2", GidReach::kSegment},
               {1, "fe80::", "fe80::1", "RoCE v2", "eth2", GidReach::kLinkLocal},
               {2, "::ffff:10.0.0.1", kHere, "RoCE v1", "eth2", GidReach::kSegment},
               {3, "::ffff:10.0.0.1", kHere, "RoCE v2", "eth2", GidReach::kRoutable}};
  RdmaDevice device;
  device.name = "mlx5_0";
  device.ports = {port};
  facts.rdma_devices = {device};
  facts.io_uring.usable = true;
  return facts;
}

TEST(Choice, TakesTheRoutableGidOfTheAddress) {
  const Choice choice = Choose(WithDevice(), kHere, kThere);
  EXPECT_EQ(choice.transport, "verbs");
  EXPECT_EQ(choice.reason, "");
  EXPECT_EQ(choice.interface, "eth2");
  ASSERT_EQ(choice.rails.size(), 4u);
  EXPECT_EQ(choice.rails[0].gid_index, 3);
  EXPECT_EQ(choice.rails[0].reason, "");
  EXPECT_EQ(choice.rails[1].gid_index, 2);
  for (size_t index = 0; index < 4; ++index) EXPECT_EQ(choice.rails[index].usable, index < 2) << index;
  for (size_t index = 1; index < 4; ++index) EXPECT_NE(choice.rails[index].reason, "") << index;
}

// As the transport does, which goes by addresses: it is ranked last, not left out.
TEST(Choice, TakesRoceV1WhereThatIsAllThereIs) {
  Facts facts = WithDevice();
  facts.rdma_devices[0].ports[0].gids.pop_back();
  const Choice choice = Choose(facts, kHere, kThere);
  EXPECT_EQ(choice.transport, "verbs");
  EXPECT_EQ(choice.reason, "");
  EXPECT_EQ(choice.rails[0].gid_index, 2);
  EXPECT_TRUE(choice.rails[0].usable);
  EXPECT_NE(choice.rails[0].reason.find("ends at the Ethernet segment"), std::string::npos);
  EXPECT_TRUE(choice.ports[0].used);
}

TEST(Choice, LinkLocalReachesLinkLocal) {
  const Choice choice = Choose(WithDevice(), "fe80::1", "fe80::2");
  EXPECT_EQ(choice.transport, "verbs");
  ASSERT_FALSE(choice.rails.empty());
  EXPECT_EQ(choice.rails[0].gid_index, 1);
}

// A second device with one GID.
RdmaDevice Another(const std::string& name, const std::string& address, double speed_gbps) {
  RdmaDevice device;
  device.name = name;
  device.numa_distance = 10;
  Port port;
  port.number = 1;
  port.state = "ACTIVE";
  port.physical_state = "LinkUp";
  port.link_layer = "Ethernet";
  port.speed_gbps = speed_gbps;
  const std::string value = address.find(':') == std::string::npos ? "::ffff:" + address : address;
  port.gids = {{1, value, address, "RoCE v2", name + "_if", GidReach::kRoutable}};
  device.ports = {port};
  return device;
}

std::vector<std::string> PortNames(const Choice& choice) {
  std::vector<std::string> names;
  for (const RankedPort& port : choice.ports) names.push_back(port.device + "/" + std::to_string(port.port));
  return names;
}

TEST(Choice, RanksThePortsOfAllDevices) {
  Facts facts = WithDevice();
  facts.rdma_devices[0].ports[0].speed_gbps = 25;
  facts.rdma_devices[0].numa_distance = 10;
  facts.rdma_devices.push_back(Another("slow", "10.1.0.1", 100));
  facts.rdma_devices.push_back(Another("fast", "10.2.0.1", 400));
  facts.rdma_devices.push_back(Another("other_family", "fd00::1", 400));
  facts.rdma_devices.push_back(Another("down", "10.4.0.1", 800));
  facts.rdma_devices.back().ports[0].state = "DOWN";
  const Port first = facts.rdma_devices[2].ports[0];
  facts.rdma_devices[2].ports.push_back(first);
  facts.rdma_devices[2].ports[1].number = 2;
  facts.rdma_devices[2].ports[1].state = "INIT";
  const Choice choice = Choose(facts, kHere, kThere);
  EXPECT_EQ(choice.transport, "verbs");
  // The one that has the route, though slower; then the best of the rest.
  EXPECT_EQ(PortNames(choice),
            (std::vector<std::string>{"mlx5_0/1", "fast/1", "slow/1", "other_family/1", "down/1", "fast/2"}));
  ASSERT_EQ(choice.ports.size(), 6u);
  EXPECT_EQ(choice.ports[0].gid_index, 3);
  EXPECT_NE(choice.ports[0].reason.find("first rail"), std::string::npos);
  for (size_t i = 0; i < 3; ++i) EXPECT_TRUE(choice.ports[i].used) << i;
  for (size_t i = 3; i < 6; ++i) EXPECT_FALSE(choice.ports[i].used) << i;
  EXPECT_NE(choice.ports[3].reason.find("no IPv4 address"), std::string::npos) << choice.ports[3].reason;
  EXPECT_NE(choice.ports[4].reason.find("DOWN"), std::string::npos) << choice.ports[4].reason;
  EXPECT_NE(choice.ports[5].reason.find("INIT"), std::string::npos) << choice.ports[5].reason;
}

// As the transport does: four are used, and a path that begins at a fifth is none.
TEST(Choice, APortBehindTheFourthIsNotUsed) {
  Facts facts = WithDevice();
  facts.rdma_devices[0].ports[0].speed_gbps = 25;
  for (const char* name : {"a", "b", "c", "d"}) facts.rdma_devices.push_back(Another(name, "10.1.0.1", 100));
  const Choice choice = Choose(facts, kHere, kThere);
  EXPECT_EQ(choice.transport, "tcp");
  EXPECT_NE(choice.reason.find("25000 Mb/s"), std::string::npos) << choice.reason;
  EXPECT_EQ(choice.ports.back().device, "mlx5_0");
}

TEST(Choice, InfiniBandIsFoundByItsInterface) {
  Facts facts = WithDevice();
  facts.rdma_devices[0].ports[0].gids = {{0, "fe80::", "fe80::9", "InfiniBand", "", GidReach::kRoutable}};
  EXPECT_EQ(Choose(facts, kHere, kThere).transport, "verbs");
}

void ExpectTcp(const Facts& facts, const std::string& reason) {
  const Choice choice = Choose(facts, kHere, kThere);
  EXPECT_EQ(choice.transport, "tcp");
  EXPECT_NE(choice.reason.find(reason), std::string::npos) << choice.reason;
}

TEST(Choice, FallsBackWithItsReason) {
  Facts facts = WithDevice();
  facts.rdma_devices.clear();
  ExpectTcp(facts, "no RDMA device");

  facts = WithDevice();
  facts.rdma_devices[0].ports[0].state = "DOWN";
  ExpectTcp(facts, "the port is DOWN");

  facts = WithDevice();
  facts.rdma_devices[0].ports[0].gids.resize(2);  // the link-local ones
  ExpectTcp(facts, "no GID on eth2 will do");

  facts = WithDevice();
  for (Gid& gid : facts.rdma_devices[0].ports[0].gids) gid.network_device = "eth3";
  facts.interfaces[0].rdma_device.clear();
  ExpectTcp(facts, "no RDMA device is on eth2");

  facts = WithDevice();
  facts.transports[0] = {"verbs", false, "not in this build"};
  ExpectTcp(facts, "not in this build");

  facts = WithDevice();
  facts.rdma_devices[0].problem = "may not be opened";
  ExpectTcp(facts, "may not be opened");
}

TEST(Choice, NoTransportIsSaid) {
  Facts facts = WithDevice();
  EXPECT_EQ(Choose(facts, "10.9.9.9", kThere).transport, "");
  EXPECT_NE(Choose(facts, "10.9.9.9", kThere).reason.find("not an address of this host"), std::string::npos);
  EXPECT_NE(Choose(facts, kHere, "fd00::2").reason.find("address families"), std::string::npos);
  facts.transports = {{"verbs", false, "none"}, {"tcp", false, "no sockets"}};
  EXPECT_EQ(Choose(facts, kHere, kThere).transport, "");
  EXPECT_NE(Choose(facts, kHere, kThere).reason.find("no sockets"), std::string::npos);
}

TEST(Advice, NothingToDoIsNothingSaid) {
  Facts facts = WithDevice();
  facts.memory.memlock_exempt = true;
  EXPECT_TRUE(Advise(facts).empty());
}

TEST(Advice, NamesWhatIsWrong) {
  const auto said = [](const Facts& facts, const std::string& wanted) {
    std::string all;
    for (const std::string& line : Advise(facts)) all += line + "\n";
    EXPECT_NE(all.find(wanted), std::string::npos) << all;
  };
  Facts facts = WithDevice();
  facts.memory.memlock_soft = 8 << 20;
  said(facts, "memlock limit is 8192 KiB");
  facts.rdma_devices[0].ports[0].mtu_active = 1024;
  facts.rdma_devices[0].ports[0].mtu_max = 4096;
  said(facts, "path MTU of 1024");
  facts.rdma_devices[0].ports[0].gids.pop_back();
  said(facts, "RoCE v1 alone");
  facts.rdma_devices[0].ports[0].gids.pop_back();
  said(facts, "no routable GID");
  facts.rdma_devices[0].ports[0].state = "DOWN";
  said(facts, "mlx5_0/1 is DOWN");
  facts.io_uring = {false, "refused"};
  said(facts, "epoll");
  facts.gpus = {{}};
  facts.gpu_registration = {{"dmabuf", false, ""}};
  said(facts, "GPU memory");
  facts.rdma_devices.clear();
  facts.kernel_modules = {{"rdma_rxe", "can be loaded", ""}};
  said(facts, "modprobe rdma_rxe");
}

}  // namespace
}  // namespace mcp::info
