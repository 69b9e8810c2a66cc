// What to do about what is missing: a pure function of the facts.
#ifndef MCP_TOOLS_MCP_INFO_ADVICE_H_
#define MCP_TOOLS_MCP_INFO_ADVICE_H_

#include <string>
#include <vector>

#include "tools/mcp_info/facts.h"

namespace mcp::info {

// One sentence each, the weightiest first.
std::vector<std::string> Advise(const Facts& facts);

}  // namespace mcp::info

#endif  // MCP_TOOLS_MCP_INFO_ADVICE_H_
