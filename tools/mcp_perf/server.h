// The server: waits for clients and serves them one after another, until it is interrupted.
#ifndef MCP_TOOLS_MCP_PERF_SERVER_H_
#define MCP_TOOLS_MCP_PERF_SERVER_H_

#include "tools/mcp_perf/options.h"

namespace mcp::perf {

// Returns the exit status. `ready_fd`: gets the port, as text and a newline, when the server listens; -1: none.
int RunServer(const Options& options, int ready_fd);

}  // namespace mcp::perf

#endif  // MCP_TOOLS_MCP_PERF_SERVER_H_
