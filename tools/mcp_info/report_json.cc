#include <string>

#include "nlohmann/json.hpp"
#include "tools/mcp_info/advice.h"
#include "tools/mcp_info/report.h"

namespace mcp::info {
namespace {

using Json = nlohmann::ordered_json;

template <class Item, class Format>
Json Array(const std::vector<Item>& items, Format format) {
  Json array = Json::array();
  for (const Item& item : items) array.push_back(format(item));
  return array;
}

template <class Number>
Json OrNull(const std::optional<Number>& number) {
  return number ? Json(*number) : Json(nullptr);
}

// -1 is the kernel's word for "no node in particular".
Json NodeOrNull(int node) { return node >= 0 ? Json(node) : Json(nullptr); }

Json GidJson(const Gid& gid) {
  return {{"index", gid.index},
          {"gid", gid.value},
          {"address", gid.address},
          {"type", gid.type},
          {"interface", gid.network_device},
          {"reach", GidReachName(gid.reach)}};
}

Json PortJson(const Port& port) {
  return {{"number", port.number},
          {"state", port.state},
          {"physical_state", port.physical_state},
          {"link_layer", port.link_layer},
          {"rate", port.rate},
          {"speed_gbps", port.speed_gbps},
          {"mtu_active_bytes", OrNull(port.mtu_active)},
          {"mtu_max_bytes", OrNull(port.mtu_max)},
          {"gids", Array(port.gids, GidJson)}};
}

Json DeviceJson(const RdmaDevice& device) {
  return {
      {"name", device.name},           {"driver", device.driver},           {"firmware", device.firmware},
      {"node_guid", device.node_guid}, {"pci_address", device.pci_address}, {"numa_node", NodeOrNull(device.numa_node)},
      {"problem", device.problem},     {"limits", Json(device.limits)},     {"ports", Array(device.ports, PortJson)}};
}

Json InterfaceJson(const Interface& interface) {
  return {{"name", interface.name},
          {"state", interface.state},
          {"mtu_bytes", interface.mtu},
          {"speed_mbps", interface.speed_mbps},
          {"numa_node", NodeOrNull(interface.numa_node)},
          {"rdma_device", interface.rdma_device},
          {"addresses", Json(interface.addresses)}};
}

Json MemoryJson(const MemoryLimits& memory) {
  return {{"memlock_soft_bytes", OrNull(memory.memlock_soft)},
          {"memlock_hard_bytes", OrNull(memory.memlock_hard)},
          {"memlock_exempt", memory.memlock_exempt},
          {"huge_pages", Array(memory.huge_pages,
                               [](const HugePages& pages) {
                                 return Json{{"size_bytes", pages.size}, {"total", pages.total}, {"free", pages.free}};
                               })},
          {"transparent_huge_pages", memory.transparent_huge_pages}};
}

Json GpuJson(const Gpu& gpu) {
  return {{"pci_address", gpu.pci_address},
          {"vendor", gpu.vendor},
          {"model", gpu.model},
          {"driver", gpu.driver},
          {"numa_node", NodeOrNull(gpu.numa_node)}};
}

Json RailJson(const RailCandidate& rail) {
  return {{"device", rail.device},     {"port", rail.port},     {"gid_index", rail.gid_index},
          {"gid_type", rail.gid_type}, {"usable", rail.usable}, {"reason", rail.reason}};
}

Json DistancesJson(const internal::NodeDistances& distances) {
  Json array = Json::array();
  for (size_t node = internal::kNoNode + 1; node < distances.size(); ++node) {
    if (distances[node] != 0) array.push_back({{"node", node - 1}, {"distance", distances[node]}});
  }
  return array;
}

Json RankedPortJson(const RankedPort& port) {
  return {{"device", port.device},
          {"port", port.port},
          {"gid_index", port.gid_index >= 0 ? Json(port.gid_index) : Json(nullptr)},
          {"gid_type", port.gid_type},
          {"address", port.address},
          {"speed_gbps", port.speed_gbps},
          {"numa_distance", port.numa_distance},
          {"numa_distances", DistancesJson(port.numa_distances)},
          {"used", port.used},
          {"reason", port.reason}};
}

Json ChoiceJson(const Choice& choice) {
  return {{"from", choice.from},
          {"to", choice.to},
          {"interface", choice.interface},
          {"transport", choice.transport},
          {"reason", choice.reason},
          {"rails", Array(choice.rails, RailJson)},
          {"ports", Array(choice.ports, RankedPortJson)}};
}

Json StepJson(const Step& step) {
  return {{"name", step.name}, {"outcome", OutcomeName(step.outcome)}, {"detail", step.detail}, {"cause", step.cause}};
}

Json CheckJson(const CheckReport& check) {
  return {{"host", check.host},
          {"port", check.port},
          {"passed", check.failed() == nullptr},
          {"failed_step", check.failed() == nullptr ? Json(nullptr) : Json(check.failed()->name)},
          {"transport", check.transport},
          {"steps", Array(check.steps, StepJson)}};
}

}  // namespace

std::string FormatJson(const Report& report) {
  const Facts& facts = report.facts;
  const Json document = {
      {"schema", "mcp-info/1"},
      {"version", report.version},
      {"host",
       {{"name", facts.host},
        {"kernel", facts.kernel},
        {"cpu_model", facts.cpu_model},
        {"cpus", facts.cpus},
        {"numa_nodes", facts.numa_nodes}}},
      {"transports", Array(facts.transports,
                           [](const TransportState& state) {
                             return Json{{"name", state.name}, {"usable", state.usable}, {"reason", state.reason}};
                           })},
      {"rdma_devices", Array(facts.rdma_devices, DeviceJson)},
      {"interfaces", Array(facts.interfaces, InterfaceJson)},
      {"memory", MemoryJson(facts.memory)},
      {"io_uring", {{"usable", facts.io_uring.usable}, {"reason", facts.io_uring.reason}}},
      {"gpus", Array(facts.gpus, GpuJson)},
      {"gpu_registration", Array(facts.gpu_registration,
                                 [](const GpuRegistration& way) {
                                   return Json{{"way", way.way}, {"available", way.available}, {"reason", way.reason}};
                                 })},
      {"kernel_modules",
       Array(facts.kernel_modules,
             [](const KernelModule& module) {
               return Json{{"name", module.name}, {"state", module.state}, {"purpose", module.purpose}};
             })},
      {"advice", Json(Advise(facts))},
      {"between", report.between ? ChoiceJson(*report.between) : Json(nullptr)},
      {"check", report.check ? CheckJson(*report.check) : Json(nullptr)}};
  return document.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace mcp::info
