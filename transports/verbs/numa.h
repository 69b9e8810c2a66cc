// How far a device is from the CPUs that drive it, and from each node of memory.
#ifndef MCP_TRANSPORTS_VERBS_NUMA_H_
#define MCP_TRANSPORTS_VERBS_NUMA_H_

#include <sched.h>

#include <cstdint>
#include <string>

#include "lib/memory/memory_node.h"

namespace mcp::internal {

inline constexpr uint32_t kNumaDistanceLocal = kOwnNodeDistance;

// From the device to the nearest node that has one of the CPUs, as firmware states it; local where nothing is known.
// The folders are the device's and the nodes' in sysfs: "/sys/class/infiniband/mlx5_0/device",
// "/sys/devices/system/node". Reads files: not for the data path.
uint32_t NumaDistance(const std::string& device_folder, const std::string& nodes_folder, const cpu_set_t& cpus);

// Of the same folders: all of them 0 where the device's node is not known.
NodeDistances DistancesFromNodes(const std::string& device_folder, const std::string& nodes_folder);

// "node 0: 10, node 1: 21"; empty where there are none.
std::string FormatDistances(const NodeDistances& distances);

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_VERBS_NUMA_H_
