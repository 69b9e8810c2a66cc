// How far a device is from the CPUs that drive it, and from the memory that these prefer.
#ifndef MCP_TRANSPORTS_VERBS_NUMA_H_
#define MCP_TRANSPORTS_VERBS_NUMA_H_

#include <sched.h>

#include <cstdint>
#include <string>

namespace mcp::internal {

// Of a device on the same node (ACPI specification, System Locality Information Table).
inline constexpr uint32_t kNumaDistanceLocal = 10;

// From the device to the nearest node that has one of the CPUs, as firmware states it; local where nothing is known.
// The folders are the device's and the nodes' in sysfs: "/sys/class/infiniband/mlx5_0/device",
// "/sys/devices/system/node". Reads files: not for the data path.
uint32_t NumaDistance(const std::string& device_folder, const std::string& nodes_folder, const cpu_set_t& cpus);

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_VERBS_NUMA_H_
