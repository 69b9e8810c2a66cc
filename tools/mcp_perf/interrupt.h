// SIGINT and SIGTERM as a flag. Waits in this tool look at it at least every kInterruptPollMs.
#ifndef MCP_TOOLS_MCP_PERF_INTERRUPT_H_
#define MCP_TOOLS_MCP_PERF_INTERRUPT_H_

#include <chrono>

namespace mcp::perf {

inline constexpr std::chrono::milliseconds kInterruptPoll{50};

// A second signal ends the process the usual way.
void InstallInterruptHandler();
bool Interrupted();

}  // namespace mcp::perf

#endif  // MCP_TOOLS_MCP_PERF_INTERRUPT_H_
