#include <arpa/inet.h>
#include <sched.h>

#include <array>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tools/mcp_info/collect.h"
#include "tools/mcp_info/system_files.h"
#include "transports/verbs/link_speed.h"
#include "transports/verbs/numa.h"

namespace mcp::info {
namespace {

constexpr char kEmptyGid[] = "0000:0000:0000:0000:0000:0000:0000:0000";

// The kernel writes "4: ACTIVE".
std::string StateName(const std::string& text) {
  const std::vector<std::string> parts = absl::StrSplit(text, absl::MaxSplits(": ", 1));
  return parts.back();
}

// The IP address of a GID: IPv4 where it is a mapped one.
std::string GidAddress(const std::string& value) {
  in6_addr address;
  if (inet_pton(AF_INET6, value.c_str(), &address) != 1) return "";
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (IN6_IS_ADDR_V4MAPPED(&address)) {
    inet_ntop(AF_INET, &address.s6_addr[12], text.data(), text.size());
  } else {
    inet_ntop(AF_INET6, &address, text.data(), text.size());
  }
  return text.data();
}

GidReach Reach(const Gid& gid) {
  switch (KindOf(gid)) {
    case internal::GidKind::kRoutable:
      return GidReach::kRoutable;
    case internal::GidKind::kLinkLocalV2:
      return GidReach::kLinkLocal;
    default:
      return GidReach::kSegment;
  }
}

std::vector<Gid> CollectGids(const std::string& port, bool ethernet) {
  std::vector<Gid> gids;
  for (const std::string& index : ListFolder(port + "/gids")) {
    Gid gid;
    gid.value = ReadText(absl::StrCat(port, "/gids/", index));
    // A table has room for hundreds; reading an entry that is not in use gives zeros, or an error.
    if (gid.value.empty() || gid.value == kEmptyGid || !absl::SimpleAtoi(index, &gid.index)) continue;
    gid.address = GidAddress(gid.value);
    const std::string type = ReadText(absl::StrCat(port, "/gid_attrs/types/", index));
    gid.type = !ethernet ? "InfiniBand" : type == "RoCE v2" ? type : "RoCE v1";
    gid.network_device = ReadText(absl::StrCat(port, "/gid_attrs/ndevs/", index));
    gid.reach = Reach(gid);
    gids.push_back(std::move(gid));
  }
  return gids;
}

Port CollectPort(const std::string& path, const std::string& number) {
  Port port;
  port.number = static_cast<int>(absl::SimpleAtoi(number, &port.number) ? port.number : 0);
  port.state = StateName(ReadText(path + "/state"));
  port.physical_state = StateName(ReadText(path + "/phys_state"));
  port.link_layer = ReadText(path + "/link_layer");
  port.rate = ReadText(path + "/rate");
  port.speed_gbps = static_cast<double>(internal::LinkMegabits(0, 0, port.rate)) / 1000;
  port.gids = CollectGids(path, port.link_layer == "Ethernet");
  return port;
}

// A software device has none, and no folder "device" but a "parent", the network device it sits on.
std::string DriverName(const std::string& path) {
  const std::string driver = LinkName(path + "/device/driver");
  if (!driver.empty()) return driver;
  return Exists(path + "/parent") ? "rdma_rxe" : "";
}

}  // namespace

const char* GidReachName(GidReach reach) {
  switch (reach) {
    case GidReach::kRoutable:
      return "routable";
    case GidReach::kLinkLocal:
      return "link-local";
    case GidReach::kSegment:
      return "segment";
  }
  return "";
}

internal::GidKind KindOf(const Gid& gid) {
  in6_addr raw;
  if (inet_pton(AF_INET6, gid.value.c_str(), &raw) != 1) return internal::GidKind::kNone;
  return internal::KindOfGid(raw.s6_addr, gid.type == "InfiniBand" ? internal::GidVersion::kInfiniBand
                                          : gid.type == "RoCE v2"  ? internal::GidVersion::kRoceV2
                                                                   : internal::GidVersion::kRoceV1);
}

std::vector<RdmaDevice> CollectRdmaDevices(const std::string& root) {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  const bool know_cpus = sched_getaffinity(0, sizeof(cpus), &cpus) == 0;
  const std::string folder = root + "/sys/class/infiniband/";
  std::vector<RdmaDevice> devices;
  for (const std::string& name : ListFolder(folder)) {
    const std::string path = folder + name;
    RdmaDevice device;
    device.name = name;
    device.driver = DriverName(path);
    device.firmware = ReadText(path + "/fw_ver");
    device.node_guid = ReadText(path + "/node_guid");
    device.numa_node = static_cast<int>(ReadNumber(path + "/device/numa_node", -1));
    const std::string nodes = root + "/sys/devices/system/node";
    device.numa_distance =
        know_cpus ? internal::NumaDistance(path + "/device", nodes, cpus) : internal::kNumaDistanceLocal;
    device.numa_distances = internal::DistancesFromNodes(path + "/device", nodes);
    const std::string bus_name = LinkName(path + "/device");
    if (absl::StrContains(bus_name, ':')) device.pci_address = bus_name;
    for (const std::string& number : ListFolder(path + "/ports")) {
      device.ports.push_back(CollectPort(absl::StrCat(path, "/ports/", number), number));
    }
    devices.push_back(std::move(device));
  }
  return devices;
}

}  // namespace mcp::info
