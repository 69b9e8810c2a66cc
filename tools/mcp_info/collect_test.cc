#include "tools/mcp_info/collect.h"

#include "gtest/gtest.h"
#include "tools/mcp_info/system_folder.h"

namespace mcp::info {
namespace {

constexpr char kPort[] = "/sys/class/infiniband/mlx5_0/ports/1";

void WritePort(SystemFolder& folder, const std::string& link_layer) {
  const std::string port = kPort;
  folder.Write(port + "/state", "4: ACTIVE");
  folder.Write(port + "/phys_state", "5: LinkUp");
  folder.Write(port + "/link_layer", link_layer);
  folder.Write(port + "/rate", "100 Gb/sec (4X EDR)");
}

void WriteGid(SystemFolder& folder, const std::string& index, const std::string& value, const std::string& type) {
  const std::string port = kPort;
  folder.Write(port + "/gids/" + index, value);
  folder.Write(port + "/gid_attrs/types/" + index, type);
  folder.Write(port + "/gid_attrs/ndevs/" + index, "eth2");
}

TEST(RdmaDevices, ReadsDevicePortAndGids) {
  SystemFolder folder;
  const std::string device = "/sys/class/infiniband/mlx5_0";
  folder.Write("/sys/devices/0000:3b:00.0/numa_node", "1");
  folder.Write("/sys/devices/system/node/node0/distance", "10 21");
  folder.Write("/sys/devices/system/node/node1/distance", "21 10");
  folder.Link("/sys/devices/0000:3b:00.0/driver", "../../bus/pci/drivers/mlx5_core");
  folder.Link(device + "/device", "../../../devices/0000:3b:00.0");
  folder.Write(device + "/fw_ver", "28.39.1002");
  folder.Write(device + "/node_guid", "b83f:d203:0001:0203");
  WritePort(folder, "Ethernet");
  WriteGid(folder, "0", "fe80:0000:0000:0000:ba3f:d2ff:fe01:0203", "IB/RoCE v1");
  WriteGid(folder, "1", "fe80:0000:0000:0000:ba3f:d2ff:fe01:0203", "RoCE v2");
  WriteGid(folder, "3", "0000:0000:0000:0000:0000:ffff:0a00:0001", "RoCE v2");
  WriteGid(folder, "10", "2001:0db8:0000:0000:0000:0000:0000:0001", "RoCE v2");
  WriteGid(folder, "11", "0000:0000:0000:0000:0000:0000:0000:0000", "RoCE v2");

  const std::vector<RdmaDevice> devices = CollectRdmaDevices(folder.root());
  ASSERT_EQ(devices.size(), 1u);
  EXPECT_EQ(devices[0].name, "mlx5_0");
  EXPECT_EQ(devices[0].driver, "mlx5_core");
  EXPECT_EQ(devices[0].firmware, "28.39.1002");
  EXPECT_EQ(devices[0].pci_address, "0000:3b:00.0");
  EXPECT_EQ(devices[0].numa_node, 1);
  EXPECT_EQ(internal::FormatDistances(devices[0].numa_distances), "node 0: 21, node 1: 10");
  ASSERT_EQ(devices[0].ports.size(), 1u);
  const Port& port = devices[0].ports[0];
  EXPECT_EQ(port.number, 1);
  EXPECT_TRUE(port.active());
  EXPECT_EQ(port.physical_state, "LinkUp");
  EXPECT_EQ(port.speed_gbps, 100);
  ASSERT_EQ(port.gids.size(), 4u);  // an empty entry is none
  EXPECT_EQ(port.gids[0].reach, GidReach::kSegment);
  EXPECT_EQ(port.gids[1].reach, GidReach::kLinkLocal);
  EXPECT_EQ(port.gids[2].reach, GidReach::kRoutable);
  EXPECT_EQ(port.gids[2].address, "10.0.0.1");
  EXPECT_EQ(port.gids[2].network_device, "eth2");
  EXPECT_EQ(port.gids[3].index, 10);
  EXPECT_EQ(port.gids[3].address, "2001:db8::1");
}

TEST(RdmaDevices, InfiniBandIsRoutableWhateverItsPrefix) {
  SystemFolder folder;
  WritePort(folder, "InfiniBand");
  folder.Write(std::string(kPort) + "/gids/0", "fe80:0000:0000:0000:b83f:d203:0001:0203");
  const std::vector<RdmaDevice> devices = CollectRdmaDevices(folder.root());
  ASSERT_EQ(devices.size(), 1u);
  ASSERT_EQ(devices[0].ports[0].gids.size(), 1u);
  EXPECT_EQ(devices[0].ports[0].gids[0].type, "InfiniBand");
  EXPECT_EQ(devices[0].ports[0].gids[0].reach, GidReach::kRoutable);
  EXPECT_EQ(devices[0].numa_node, -1);
}

TEST(RdmaDevices, NoneIsNone) {
  const SystemFolder folder;
  EXPECT_TRUE(CollectRdmaDevices(folder.root()).empty());
}

TEST(Interfaces, NameTheRdmaDeviceOnThem) {
  SystemFolder folder;
  folder.Write("/sys/class/net/eth2/mtu", "9000");
  folder.Write("/sys/class/net/eth2/operstate", "up");
  folder.Write("/sys/class/net/eth2/speed", "-1");
  folder.Write("/sys/class/net/ib0/mtu", "2044");
  folder.Write("/sys/class/net/ib0/device/infiniband/mlx5_1/fw_ver", "1");
  folder.Write("/sys/class/net/bonding_masters", "");
  WritePort(folder, "Ethernet");
  WriteGid(folder, "0", "0000:0000:0000:0000:0000:ffff:0a00:0001", "RoCE v2");
  const std::vector<Interface> interfaces = CollectInterfaces(folder.root(), CollectRdmaDevices(folder.root()));
  ASSERT_EQ(interfaces.size(), 2u);
  EXPECT_EQ(interfaces[0].name, "eth2");
  EXPECT_EQ(interfaces[0].mtu, 9000);
  EXPECT_EQ(interfaces[0].speed_mbps, 0);
  EXPECT_EQ(interfaces[0].rdma_device, "mlx5_0");
  EXPECT_EQ(interfaces[1].rdma_device, "mlx5_1");
}

TEST(MemoryLimits, ReadsHugePages) {
  SystemFolder folder;
  folder.Write("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "512");
  folder.Write("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "100");
  folder.Write("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never");
  const MemoryLimits limits = CollectMemoryLimits(folder.root());
  ASSERT_EQ(limits.huge_pages.size(), 1u);
  EXPECT_EQ(limits.huge_pages[0].size, uint64_t{2} << 20);
  EXPECT_EQ(limits.huge_pages[0].total, 512u);
  EXPECT_EQ(limits.huge_pages[0].free, 100u);
  EXPECT_EQ(limits.transparent_huge_pages, "madvise");
}

void WriteGpu(SystemFolder& folder) {
  const std::string gpu = "/sys/bus/pci/devices/0000:18:00.0";
  folder.Write(gpu + "/vendor", "0x10de");
  folder.Write(gpu + "/device", "0x2330");
  folder.Write(gpu + "/class", "0x030200");
  folder.Write(gpu + "/numa_node", "0");
  folder.Link(gpu + "/driver", "../../../../bus/pci/drivers/nvidia");
  folder.Write("/sys/module/nvidia/version", "550.54.15");
  folder.Write("/proc/driver/nvidia/gpus/0000:18:00.0/information", "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ: 18");
}

TEST(Gpus, NvidiaWithProprietaryModulesAndNoPeerMemory) {
  SystemFolder folder;
  WriteGpu(folder);
  folder.Write("/proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15");
  folder.Write("/sys/bus/pci/devices/0000:00:02.0/vendor", "0x1234");
  const std::vector<Gpu> gpus = CollectGpus(folder.root());
  ASSERT_EQ(gpus.size(), 1u);
  EXPECT_EQ(gpus[0].model, "NVIDIA H100 80GB HBM3");
  EXPECT_EQ(gpus[0].driver, "nvidia");
  const std::vector<GpuRegistration> ways = CollectGpuRegistration(folder.root(), gpus);
  ASSERT_EQ(ways.size(), 2u);
  EXPECT_FALSE(ways[0].available);
  EXPECT_NE(ways[0].reason.find("modprobe nvidia-peermem"), std::string::npos);
  EXPECT_FALSE(ways[1].available);
  EXPECT_NE(ways[1].reason.find("proprietary"), std::string::npos);
}

TEST(Gpus, NvidiaWithOpenModulesAndPeerMemory) {
  SystemFolder folder;
  WriteGpu(folder);
  folder.Write("/proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.15");
  folder.Write("/sys/module/nvidia_peermem/refcnt", "0");
  const std::vector<GpuRegistration> ways = CollectGpuRegistration(folder.root(), CollectGpus(folder.root()));
  ASSERT_EQ(ways.size(), 2u);
  EXPECT_TRUE(ways[0].available);
  EXPECT_TRUE(ways[1].available);
}

TEST(Gpus, NoneIsSaidOnce) {
  const SystemFolder folder;
  EXPECT_TRUE(CollectGpus(folder.root()).empty());
  for (const GpuRegistration& way : CollectGpuRegistration(folder.root(), {})) {
    EXPECT_FALSE(way.available);
    EXPECT_EQ(way.reason, "this host has no GPU");
  }
}

TEST(KernelModules, LoadedIsSeen) {
  SystemFolder folder;
  folder.Write("/sys/module/ib_core/refcnt", "3");
  bool seen = false;
  for (const KernelModule& module : CollectKernelModules(folder.root())) {
    EXPECT_EQ(module.state, module.name == "ib_core" ? "loaded" : "not there") << module.name;
    seen = seen || module.name == "ib_core";
  }
  EXPECT_TRUE(seen);
}

}  // namespace
}  // namespace mcp::info
