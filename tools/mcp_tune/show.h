// A profile for people: a table of figures, and a map of which protocol wins where.
#ifndef MCP_TOOLS_MCP_TUNE_SHOW_H_
#define MCP_TOOLS_MCP_TUNE_SHOW_H_

#include <string>

#include "lib/context/profile.h"

namespace mcp::internal {

// One line a point: base and rate of each protocol.
std::string ShowTable(const Profile& profile);

// For each bandwidth and latency a map: sizes across, loss downwards, the first letter of the winner; in lower case
// where the next is less than 5 % behind.
std::string ShowMaps(const Profile& profile);

}  // namespace mcp::internal

#endif  // MCP_TOOLS_MCP_TUNE_SHOW_H_
