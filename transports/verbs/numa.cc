#include "transports/verbs/numa.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>
#include <system_error>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace mcp::internal {
namespace {

std::string FirstLine(const std::string& path) {
  std::string line;
  std::getline(std::ifstream(path), line);
  return line;
}

// In the order in which sysfs states distances.
std::vector<int> Nodes(const std::string& nodes_folder) {
  std::vector<int> nodes;
  std::error_code ignored;  // no folder: no nodes
  for (const auto& entry : std::filesystem::directory_iterator(nodes_folder, ignored)) {
    const std::string name = entry.path().filename();
    absl::string_view number = name;
    int node = 0;
    if (absl::ConsumePrefix(&number, "node") && absl::SimpleAtoi(number, &node)) nodes.push_back(node);
  }
  std::sort(nodes.begin(), nodes.end());
  return nodes;
}

// "0-3,8": whether one of them is in the set.
bool HasOneOf(const std::string& cpu_list, const cpu_set_t& cpus) {
  for (const absl::string_view range : absl::StrSplit(cpu_list, ',', absl::SkipWhitespace())) {
    const std::vector<absl::string_view> ends = absl::StrSplit(range, '-');
    int first = 0;
    int last = 0;
    if (!absl::SimpleAtoi(ends.front(), &first) || !absl::SimpleAtoi(ends.back(), &last)) continue;
    for (int cpu = std::max(0, first); cpu <= std::min(last, CPU_SETSIZE - 1); ++cpu) {
      if (CPU_ISSET(cpu, &cpus)) return true;
    }
  }
  return false;
}

struct NodeDistance {
  int node = 0;
  uint32_t distance = 0;
};

// From the device's own node to each. None where that is not known.
std::vector<NodeDistance> Distances(const std::string& device_folder, const std::string& nodes_folder) {
  int home = -1;
  if (!absl::SimpleAtoi(FirstLine(device_folder + "/numa_node"), &home) || home < 0) return {};
  std::istringstream stated(FirstLine(absl::StrCat(nodes_folder, "/node", home, "/distance")));
  std::vector<NodeDistance> distances;
  for (const int node : Nodes(nodes_folder)) {
    uint32_t distance = 0;
    if (!(stated >> distance)) break;
    distances.push_back({node, distance});
  }
  return distances;
}

}  // namespace

uint32_t NumaDistance(const std::string& device_folder, const std::string& nodes_folder, const cpu_set_t& cpus) {
  uint32_t nearest = std::numeric_limits<uint32_t>::max();
  for (const NodeDistance& from : Distances(device_folder, nodes_folder)) {
    if (HasOneOf(FirstLine(absl::StrCat(nodes_folder, "/node", from.node, "/cpulist")), cpus)) {
      nearest = std::min(nearest, from.distance);
    }
  }
  return nearest == std::numeric_limits<uint32_t>::max() ? kNumaDistanceLocal : nearest;
}

NodeDistances DistancesFromNodes(const std::string& device_folder, const std::string& nodes_folder) {
  NodeDistances distances{};
  for (const NodeDistance& from : Distances(device_folder, nodes_folder)) {
    const MemoryNode node = MemoryNodeOf(from.node);
    if (node != kNoNode) distances[node] = static_cast<uint8_t>(std::min<uint32_t>(from.distance, UINT8_MAX));
  }
  return distances;
}

std::string FormatDistances(const NodeDistances& distances) {
  std::string text;
  for (size_t node = kNoNode + 1; node < distances.size(); ++node) {
    if (distances[node] == 0) continue;
    absl::StrAppend(&text, text.empty() ? "" : ", ", "node ", node - 1, ": ", distances[node]);
  }
  return text;
}

}  // namespace mcp::internal
