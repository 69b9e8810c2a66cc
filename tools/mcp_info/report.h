// What the program prints: for people, and as JSON by the schema of README.md.
#ifndef MCP_TOOLS_MCP_INFO_REPORT_H_
#define MCP_TOOLS_MCP_INFO_REPORT_H_

#include <optional>
#include <string>

#include "tools/mcp_info/check.h"
#include "tools/mcp_info/choice.h"
#include "tools/mcp_info/facts.h"

namespace mcp::info {

struct Report {
  std::string version;
  Facts facts;
  std::optional<Choice> between;
  std::optional<CheckReport> check;
};

std::string FormatJson(const Report& report);

std::string FormatFacts(const Report& report);
std::string FormatChoice(const Choice& choice);
// A step as it ends, and the last line of a check.
std::string FormatStep(const Step& step);
std::string FormatVerdict(const CheckReport& check);

}  // namespace mcp::info

#endif  // MCP_TOOLS_MCP_INFO_REPORT_H_
