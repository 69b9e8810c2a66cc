// --loopback: the server as a child process, the client as this one.
#ifndef MCP_TOOLS_MCP_PERF_LOOPBACK_H_
#define MCP_TOOLS_MCP_PERF_LOOPBACK_H_

#include "tools/mcp_perf/options.h"

namespace mcp::perf {

// Returns the exit status. Called before the process has any thread. The child ends with this process, however this
// one ends.
int RunLoopback(const Options& options);

}  // namespace mcp::perf

#endif  // MCP_TOOLS_MCP_PERF_LOOPBACK_H_
