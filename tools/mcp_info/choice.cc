#include "tools/mcp_info/choice.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace mcp::info {
namespace {

// The transport takes it all the same, where it is all there is: who is reached by it is the fabric's matter.
constexpr char kSegmentOnly[] = "RoCE v1 has no IP header: it ends at the Ethernet segment";

const Interface* InterfaceOf(const Facts& facts, absl::string_view address) {
  for (const Interface& interface : facts.interfaces) {
    if (std::find(interface.addresses.begin(), interface.addresses.end(), address) != interface.addresses.end()) {
      return &interface;
    }
  }
  return nullptr;
}

bool IsLoopback(absl::string_view address) { return absl::StartsWith(address, "127.") || address == "::1"; }
bool IsLinkLocal(absl::string_view address) {
  return absl::StartsWith(address, "fe80:") || absl::StartsWith(address, "169.254.");
}

const TransportState* FindTransport(const Facts& facts, absl::string_view name) {
  for (const TransportState& transport : facts.transports) {
    if (transport.name == name) return &transport;
  }
  return nullptr;
}

// InfiniBand ports are found by IPoIB's interface, whose RDMA device /sys names; RoCE ports by the GID's own.
bool OnInterface(const Interface& interface, const RdmaDevice& device, const Gid& gid) {
  if (gid.network_device == interface.name) return true;
  return gid.network_device.empty() && interface.rdma_device == device.name;
}

std::string WhyNotUsable(const RdmaDevice& device, const Port& port, const Gid& gid, const Choice& choice) {
  if (!device.problem.empty()) return device.problem;
  if (!port.active()) return absl::StrCat("the port is ", port.state, ", ", port.physical_state);
  if (gid.reach == GidReach::kLinkLocal && !IsLinkLocal(choice.to)) return "a link-local GID can't be routed";
  if (gid.type != "InfiniBand" && gid.address != choice.from) {
    return absl::StrCat("its address is ", gid.address, ", and the path starts at ", choice.from);
  }
  return "";
}

std::vector<RailCandidate> Candidates(const Facts& facts, const Interface& interface, const Choice& choice) {
  std::vector<RailCandidate> rails;
  for (const RdmaDevice& device : facts.rdma_devices) {
    for (const Port& port : device.ports) {
      for (const Gid& gid : port.gids) {
        if (!OnInterface(interface, device, gid)) continue;
        const std::string why_not = WhyNotUsable(device, port, gid, choice);
        const bool usable = why_not.empty();
        rails.push_back({device.name, port.number, gid.index, gid.type, KindOf(gid), usable,
                         usable && gid.reach == GidReach::kSegment ? kSegmentOnly : why_not});
      }
    }
  }
  std::stable_sort(rails.begin(), rails.end(), [](const RailCandidate& a, const RailCandidate& b) {
    return std::tuple(a.usable, a.kind) > std::tuple(b.usable, b.kind);
  });
  return rails;
}

bool IsIpv6(absl::string_view address) { return absl::StrContains(address, ':'); }

// By which a port is ranked: its best, and of those that are alike one that can be this path's.
const Gid* BestGid(const Port& port, const Choice& choice) {
  const auto worth = [&](const Gid& gid) {
    return std::tuple(KindOf(gid), gid.address == choice.from, IsIpv6(gid.address) == IsIpv6(choice.from));
  };
  const auto best = std::max_element(port.gids.begin(), port.gids.end(),
                                     [&](const Gid& a, const Gid& b) { return worth(a) < worth(b); });
  return best == port.gids.end() ? nullptr : &*best;
}

bool BeginsAt(const Interface& interface, const RdmaDevice& device, const Port& port, const Choice& choice) {
  return std::any_of(port.gids.begin(), port.gids.end(), [&](const Gid& gid) {
    return OnInterface(interface, device, gid) && WhyNotUsable(device, port, gid, choice).empty();
  });
}

// Further rails begin at an address of the peer's family (docs/decisions/007-devices-as-rails.md).
std::string WhyNoFurtherRail(const Port& port, const Choice& choice) {
  if (port.link_layer == "InfiniBand") return "on InfiniBand all rails go by the port that has the route";
  const bool reaches = std::any_of(port.gids.begin(), port.gids.end(), [&](const Gid& gid) {
    return !IsLinkLocal(gid.address) && IsIpv6(gid.address) == IsIpv6(choice.to);
  });
  return reaches ? "" : absl::StrCat("it has no ", IsIpv6(choice.to) ? "IPv6" : "IPv4", " address to connect from");
}

internal::PortFacts FactsOf(const RdmaDevice& device, const Port& port, const Gid* gid) {
  internal::PortFacts facts;
  facts.name = absl::StrCat(device.name, "/", port.number);
  facts.why_not = device.problem;
  if (!port.active()) facts.why_not = absl::StrCat("the port is ", port.state, ", ", port.physical_state);
  if (gid != nullptr) facts.gid = KindOf(*gid);
  facts.megabits_per_second = static_cast<int64_t>(1000 * port.speed_gbps);
  facts.numa_distance = device.numa_distance;
  return facts;
}

// The first rail goes by the port that has the route, the others by the best of the rest: so says the transport
// (VerbsNetworkImpl::Sources).
std::vector<RankedPort> RankedPorts(const Facts& facts, const Interface& interface, const Choice& choice) {
  std::vector<RankedPort> ports;
  std::vector<internal::PortFacts> ranked_by;
  std::vector<std::string> why_no_further_rail;
  size_t first = 0;
  for (const RdmaDevice& device : facts.rdma_devices) {
    for (const Port& port : device.ports) {
      const Gid* const gid = BestGid(port, choice);
      RankedPort& ranked = ports.emplace_back();
      ranked.device = device.name;
      ranked.port = port.number;
      if (gid != nullptr) ranked.gid_index = gid->index;
      if (gid != nullptr) ranked.gid_type = gid->type;
      if (gid != nullptr) ranked.address = gid->address;
      ranked.speed_gbps = port.speed_gbps;
      ranked.numa_distance = device.numa_distance;
      ranked.numa_distances = device.numa_distances;
      ranked_by.push_back(FactsOf(device, port, gid));
      why_no_further_rail.push_back(WhyNoFurtherRail(port, choice));
      if (first == 0 && BeginsAt(interface, device, port, choice)) first = ports.size();
    }
  }
  std::vector<RankedPort> in_order;
  for (const internal::RankedPort& ranked : internal::RankPorts(ranked_by, internal::kPortsUsedMax)) {
    RankedPort& port = in_order.emplace_back(std::move(ports[ranked.index]));
    const bool is_first = first == ranked.index + 1;
    port.used = ranked.reason.empty() && (is_first || why_no_further_rail[ranked.index].empty());
    port.reason = !ranked.reason.empty() ? ranked.reason
                  : is_first             ? "the path begins at it: the first rail"
                  : port.used            ? "further rails"
                                         : why_no_further_rail[ranked.index];
    if (is_first && port.used) std::rotate(in_order.begin(), in_order.end() - 1, in_order.end());
  }
  std::stable_partition(in_order.begin(), in_order.end(), [](const RankedPort& port) { return port.used; });
  return in_order;
}

// The transport does not take it though the path begins there; empty: it does, or none begins there.
std::string WhyFirstIsNotUsed(const Choice& choice) {
  const RailCandidate& rail = choice.rails.front();
  const auto port = std::find_if(choice.ports.begin(), choice.ports.end(), [&](const RankedPort& ranked) {
    return ranked.device == rail.device && ranked.port == rail.port;
  });
  return port == choice.ports.end() || port->used ? "" : absl::StrCat(rail.device, "/", rail.port, ": ", port->reason);
}

// Empty: verbs it is.
std::string WhyNotVerbs(const Facts& facts, const Interface& interface, const Choice& choice) {
  if (facts.rdma_devices.empty()) return "no RDMA device in /sys/class/infiniband";
  const TransportState* const verbs = FindTransport(facts, "verbs");
  if (verbs == nullptr || !verbs->usable) return verbs == nullptr ? "not asked" : verbs->reason;
  if (IsLoopback(choice.from)) return "the path stays on the loopback interface, which no RDMA device is on";
  if (choice.rails.empty()) return absl::StrCat("no RDMA device is on ", interface.name, ", where the path begins");
  if (!choice.rails.front().usable) {
    const RailCandidate& best = choice.rails.front();
    return absl::StrCat("no GID on ", interface.name, " will do; ", best.device, "/", best.port, " GID ",
                        best.gid_index, ": ", best.reason);
  }
  return WhyFirstIsNotUsed(choice);
}

}  // namespace

Choice Choose(const Facts& facts, absl::string_view from, absl::string_view to) {
  Choice choice;
  choice.from = std::string(from);
  choice.to = std::string(to);
  const Interface* const interface = InterfaceOf(facts, from);
  if (interface == nullptr) {
    choice.reason = absl::StrCat(from, " is not an address of this host");
    return choice;
  }
  choice.interface = interface->name;
  const bool same_family = absl::StrContains(from, ':') == absl::StrContains(to, ':');
  if (!same_family) {
    choice.reason = absl::StrCat(from, " and ", to, " are of different address families");
    return choice;
  }
  choice.rails = Candidates(facts, *interface, choice);
  choice.ports = RankedPorts(facts, *interface, choice);
  choice.reason = WhyNotVerbs(facts, *interface, choice);
  if (choice.reason.empty()) {
    choice.transport = "verbs";
    return choice;
  }
  const TransportState* const tcp = FindTransport(facts, "tcp");
  if (tcp != nullptr && tcp->usable) {
    choice.transport = "tcp";
  } else if (tcp != nullptr) {
    absl::StrAppend(&choice.reason, "; tcp: ", tcp->reason);
  }
  return choice;
}

}  // namespace mcp::info
