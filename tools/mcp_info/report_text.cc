#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "tools/mcp_info/advice.h"
#include "tools/mcp_info/report.h"
#include "tools/mcp_perf/sizes.h"

namespace mcp::info {
namespace {

// "- reason" where there is one.
std::string YesNo(bool yes, const std::string& reason) {
  return absl::StrCat(yes ? "yes" : "no", reason.empty() ? "" : absl::StrCat(": ", reason));
}

std::string NodeText(int node) { return node >= 0 ? absl::StrCat(", NUMA node ", node) : ""; }

std::string GidLine(const Gid& gid) {
  return absl::StrFormat("    GID %-3d %-39s %-10s %s%s\n", gid.index, gid.address, gid.type, GidReachName(gid.reach),
                         gid.network_device.empty() ? "" : absl::StrCat(", on ", gid.network_device));
}

std::string PortText(const Port& port) {
  std::string text = absl::StrCat("  port ", port.number, ": ", port.state, ", ", port.physical_state, ", ",
                                  port.link_layer, ", ", port.rate);
  if (port.mtu_active) {
    absl::StrAppend(&text, ", path MTU ", *port.mtu_active, " of at most ", port.mtu_max.value_or(0));
  }
  text += "\n";
  for (const Gid& gid : port.gids) text += GidLine(gid);
  return text;
}

std::string DevicesText(const Facts& facts) {
  if (facts.rdma_devices.empty()) return "  none in /sys/class/infiniband\n";
  std::string text;
  for (const RdmaDevice& device : facts.rdma_devices) {
    absl::StrAppend(&text, "  ", device.name, device.driver.empty() ? "" : ", ", device.driver,
                    device.pci_address.empty() ? "" : ", PCI ", device.pci_address, NodeText(device.numa_node),
                    ", firmware ", device.firmware.empty() ? "unknown" : device.firmware, "\n");
    if (!device.problem.empty()) absl::StrAppend(&text, "  problem: ", device.problem, "\n");
    if (!device.limits.empty()) absl::StrAppend(&text, "  limits: ", absl::StrJoin(device.limits, ", "), "\n");
    for (const Port& port : device.ports) text += PortText(port);
  }
  return text;
}

std::string InterfacesText(const Facts& facts) {
  std::string text;
  for (const Interface& interface : facts.interfaces) {
    absl::StrAppend(&text, absl::StrFormat("  %-12s %-8s MTU %-6d", interface.name, interface.state, interface.mtu));
    if (interface.speed_mbps > 0) absl::StrAppend(&text, interface.speed_mbps, " Mb/s ");
    absl::StrAppend(&text, absl::StrJoin(interface.addresses, " "), NodeText(interface.numa_node),
                    interface.rdma_device.empty() ? "" : ", RDMA by ", interface.rdma_device, "\n");
  }
  return text;
}

std::string LimitText(const std::optional<uint64_t>& limit) { return limit ? perf::FormatSize(*limit) : "unlimited"; }

std::string MemoryText(const MemoryLimits& memory) {
  std::string text =
      absl::StrCat("  memlock limit: ", LimitText(memory.memlock_soft), " (hard ", LimitText(memory.memlock_hard), ")",
                   memory.memlock_exempt ? ", does not count for this user" : "", "\n");
  for (const HugePages& pages : memory.huge_pages) {
    absl::StrAppend(&text, "  huge pages of ", perf::FormatSize(pages.size), ": ", pages.free, " free of ", pages.total,
                    "\n");
  }
  if (!memory.transparent_huge_pages.empty()) {
    absl::StrAppend(&text, "  transparent huge pages: ", memory.transparent_huge_pages, "\n");
  }
  return text;
}

std::string GpusText(const Facts& facts) {
  std::string text = facts.gpus.empty() ? "  none\n" : "";
  for (const Gpu& gpu : facts.gpus) {
    absl::StrAppend(&text, "  ", gpu.vendor, " ", gpu.model, ", PCI ", gpu.pci_address,
                    gpu.driver.empty() ? ", no driver" : absl::StrCat(", driver ", gpu.driver), NodeText(gpu.numa_node),
                    "\n");
  }
  for (const GpuRegistration& way : facts.gpu_registration) {
    absl::StrAppend(&text, "  registration by ", way.way, ": ", YesNo(way.available, way.reason), "\n");
  }
  return text;
}

std::string ModulesText(const Facts& facts) {
  std::string text;
  for (const KernelModule& module : facts.kernel_modules) {
    text += absl::StrFormat("  %-15s %-14s %s\n", module.name, module.state, module.purpose);
  }
  return text;
}

// By which rails are preferred for each region's memory.
std::string FromNodes(const RankedPort& port) {
  const std::string distances = internal::FormatDistances(port.numa_distances);
  return distances.empty() ? "" : absl::StrCat(" (from memory of ", distances, ")");
}

}  // namespace

std::string FormatFacts(const Report& report) {
  const Facts& facts = report.facts;
  std::string text = absl::StrCat("mcp ", report.version, " on ", facts.host, ": ", facts.kernel, ", ", facts.cpus,
                                  facts.cpus == 1 ? " CPU" : " CPUs", " (", facts.cpu_model, "), ", facts.numa_nodes,
                                  facts.numa_nodes == 1 ? " NUMA node\n" : " NUMA nodes\n");
  text += "\nTransports, as auto prefers them\n";
  for (const TransportState& state : facts.transports) {
    absl::StrAppend(&text, "  ", state.name, ": ", YesNo(state.usable, state.reason), "\n");
  }
  absl::StrAppend(&text, "\nRDMA devices\n", DevicesText(facts), "\nNetwork interfaces\n", InterfacesText(facts),
                  "\nMemory\n", MemoryText(facts.memory),
                  "\nio_uring\n  usable: ", YesNo(facts.io_uring.usable, facts.io_uring.reason), "\n\nGPUs\n",
                  GpusText(facts), "\nKernel modules\n", ModulesText(facts));
  const std::vector<std::string> advice = Advise(facts);
  if (!advice.empty()) text += "\nWhat to do\n";
  for (const std::string& line : advice) absl::StrAppend(&text, "  - ", line, "\n");
  return text;
}

std::string FormatChoice(const Choice& choice) {
  std::string text =
      absl::StrCat(choice.from, " to ", choice.to, ": ", choice.transport.empty() ? "no transport" : choice.transport,
                   choice.reason.empty() ? "" : absl::StrCat(" (", choice.reason, ")"), "\n");
  for (const RailCandidate& rail : choice.rails) {
    absl::StrAppend(&text, "  ", rail.device, "/", rail.port, " GID ", rail.gid_index, " (", rail.gid_type,
                    "): ", rail.usable ? "usable" : "not used", rail.reason.empty() ? "" : ": ", rail.reason, "\n");
  }
  if (!choice.ports.empty()) text += "RDMA ports, in the order in which rails take them\n";
  for (const RankedPort& port : choice.ports) {
    absl::StrAppend(&text, "  ", port.device, "/", port.port,
                    port.gid_index < 0
                        ? ", no GID"
                        : absl::StrCat(" GID ", port.gid_index, " (", port.gid_type, " ", port.address, ")"),
                    ", ", port.speed_gbps, " Gb/s, NUMA distance ", port.numa_distance, FromNodes(port), ": ",
                    port.used ? "" : "not used: ", port.reason, "\n");
  }
  return text;
}

std::string FormatStep(const Step& step) {
  std::string text = absl::StrFormat("%-8s %-9s %s\n", OutcomeName(step.outcome), step.name, step.detail);
  if (!step.cause.empty()) absl::StrAppend(&text, "  usually: ", step.cause, "\n");
  return text;
}

std::string FormatVerdict(const CheckReport& check) {
  const std::string peer = absl::StrCat(check.host, " port ", check.port);
  if (check.failed() != nullptr)
    return absl::StrCat(peer, ": the first step that fails is ", check.failed()->name, "\n");
  if (check.transport.empty()) return absl::StrCat(peer, ": the path works as far as it was tried\n");
  return absl::StrCat(peer, ": the path works, over ", check.transport, "\n");
}

}  // namespace mcp::info
