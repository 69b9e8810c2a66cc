#include "tools/mcp_perf/loopback_address.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>

#include <memory>
#include <vector>

#include "tools/mcp_perf/data_path.h"

namespace mcp::perf {
namespace {

constexpr char kLoopback[] = "127.0.0.1";
constexpr size_t kAddressesMax = 64;

// Of this host's interfaces that are up, IPv4 first. IPv6 addresses of one link alone are left out.
std::vector<std::string> HostAddresses() {
  std::vector<std::string> addresses;
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return addresses;
  const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> owned(list, freeifaddrs);
  for (const int family : {AF_INET, AF_INET6}) {
    const socklen_t length = family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
    for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
      if (entry->ifa_addr == nullptr || entry->ifa_addr->sa_family != family) continue;
      if ((entry->ifa_flags & IFF_UP) == 0 || (entry->ifa_flags & IFF_LOOPBACK) != 0) continue;
      if (family == AF_INET6 &&
          IN6_IS_ADDR_LINKLOCAL(&reinterpret_cast<const sockaddr_in6*>(entry->ifa_addr)->sin6_addr)) {
        continue;
      }
      char text[NI_MAXHOST];
      if (getnameinfo(entry->ifa_addr, length, text, sizeof(text), nullptr, 0, NI_NUMERICHOST) != 0) continue;
      if (addresses.size() < kAddressesMax) addresses.emplace_back(text);
    }
  }
  return addresses;
}

}  // namespace

std::string LoopbackAddress(const Options& options) {
  if (!options.bind.empty()) return options.bind;
  if (options.transport == "tcp" || !WhyNotVerbs(VerbsOf(options)).ok()) return kLoopback;
  for (const std::string& address : HostAddresses()) {
    if (WhyNotVerbs(VerbsOf(options), address).ok()) return address;
  }
  return kLoopback;
}

}  // namespace mcp::perf
