// The address by which both sides of --loopback meet.
#ifndef MCP_TOOLS_MCP_PERF_LOOPBACK_ADDRESS_H_
#define MCP_TOOLS_MCP_PERF_LOOPBACK_ADDRESS_H_

#include <string>

#include "tools/mcp_perf/options.h"

namespace mcp::perf {

// What --bind says; without it an address of an RDMA device where verbs may be used and there is one, else 127.0.0.1.
std::string LoopbackAddress(const Options& options);

}  // namespace mcp::perf

#endif  // MCP_TOOLS_MCP_PERF_LOOPBACK_ADDRESS_H_
