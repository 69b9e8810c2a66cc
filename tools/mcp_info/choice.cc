#include "tools/mcp_info/choice.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace mcp::info {
namespace {

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
  if (gid.reach == GidReach::kSegment) return "RoCE v1 has no IP header: it ends at the Ethernet segment";
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
        const std::string reason = WhyNotUsable(device, port, gid, choice);
        rails.push_back({device.name, port.number, gid.index, gid.type, reason.empty(), reason});
      }
    }
  }
  std::stable_sort(rails.begin(), rails.end(),
                   [](const RailCandidate& a, const RailCandidate& b) { return a.usable && !b.usable; });
  return rails;
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
  return "";
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
