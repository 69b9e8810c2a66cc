#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <map>

#include "tools/mcp_info/collect.h"
#include "tools/mcp_info/system_files.h"

namespace mcp::info {
namespace {

std::string AddressText(const sockaddr* address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (address->sa_family == AF_INET) {
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(address)->sin_addr, text.data(), text.size());
  } else if (address->sa_family == AF_INET6) {
    inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr, text.data(), text.size());
  }
  return text.data();
}

std::map<std::string, std::vector<std::string>> AddressesByInterface() {
  std::map<std::string, std::vector<std::string>> addresses;
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return addresses;
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr) continue;
    const std::string text = AddressText(entry->ifa_addr);
    if (!text.empty()) addresses[entry->ifa_name].push_back(text);
  }
  freeifaddrs(list);
  return addresses;
}

// RoCE: the device whose GIDs are on the interface. IPoIB: both are children of one PCI device.
std::string DeviceOn(const std::string& folder, const std::string& interface, const std::vector<RdmaDevice>& devices) {
  for (const RdmaDevice& device : devices) {
    for (const Port& port : device.ports) {
      const bool on = std::any_of(port.gids.begin(), port.gids.end(),
                                  [&](const Gid& gid) { return gid.network_device == interface; });
      if (on) return device.name;
    }
  }
  const std::vector<std::string> siblings = ListFolder(folder + "/device/infiniband");
  return siblings.empty() ? "" : siblings.front();
}

}  // namespace

std::vector<Interface> CollectInterfaces(const std::string& root, const std::vector<RdmaDevice>& devices) {
  const std::string folder = root + "/sys/class/net/";
  std::map<std::string, std::vector<std::string>> addresses = AddressesByInterface();
  std::vector<Interface> interfaces;
  for (const std::string& name : ListFolder(folder)) {
    const std::string path = folder + name;
    Interface interface;
    interface.name = name;
    interface.state = ReadText(path + "/operstate");
    interface.mtu = static_cast<int>(ReadNumber(path + "/mtu", 0));
    interface.speed_mbps = std::max<int64_t>(0, ReadNumber(path + "/speed", 0));
    interface.numa_node = static_cast<int>(ReadNumber(path + "/device/numa_node", -1));
    interface.rdma_device = DeviceOn(path, name, devices);
    interface.addresses = addresses[name];
    if (interface.mtu > 0) interfaces.push_back(std::move(interface));  // bonding_masters is a file among them
  }
  return interfaces;
}

}  // namespace mcp::info
