// The command line of mcp-info.
#ifndef MCP_TOOLS_MCP_INFO_OPTIONS_H_
#define MCP_TOOLS_MCP_INFO_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <string>

namespace mcp::info {

inline constexpr int kExitOk = 0;
inline constexpr int kExitCheckFailed = 1;
inline constexpr int kExitUsage = 2;

struct Options {
  bool json = false;
  // --between: this host's address and the peer's.
  std::string from;
  std::string to;
  // --check
  std::string host;
  uint16_t port = 0;
  std::string transport;  // "auto", "verbs", "tcp"
};

// Either options, or text for the user and the status to exit with.
struct ParsedCommandLine {
  std::optional<Options> options;
  int exit_status = kExitOk;
  std::string out;
  std::string error;
};

ParsedCommandLine ParseCommandLine(int argc, const char* const* argv);

}  // namespace mcp::info

#endif  // MCP_TOOLS_MCP_INFO_OPTIONS_H_
