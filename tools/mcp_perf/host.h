// What mcp-perf asks the operating system.
#ifndef MCP_TOOLS_MCP_PERF_HOST_H_
#define MCP_TOOLS_MCP_PERF_HOST_H_

#include <time.h>

#include <cstdint>

#include "tools/mcp_perf/measurement.h"

namespace mcp::perf {

// CLOCK_MONOTONIC: 20 to 30 ns through the vDSO.
inline int64_t NowNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{1'000'000'000} * now.tv_sec + now.tv_nsec;
}

// CPU time of all threads of this process, user and system.
int64_t ProcessCpuNs();

// CPUs that this process may run on.
int CpuCount();

// Bytes that can be had without swapping. 0: not known.
uint64_t MemoryAvailable();

HostInfo DescribeHost();

}  // namespace mcp::perf

#endif  // MCP_TOOLS_MCP_PERF_HOST_H_
