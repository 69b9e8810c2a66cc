// What `auto` would choose between two addresses, and why: a pure function of the facts.
#ifndef MCP_TOOLS_MCP_INFO_CHOICE_H_
#define MCP_TOOLS_MCP_INFO_CHOICE_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "tools/mcp_info/facts.h"

namespace mcp::info {

// A GID of this host, judged for a path that starts at one address.
struct RailCandidate {
  std::string device;
  int port = 0;
  int gid_index = 0;
  std::string gid_type;
  bool usable = false;
  std::string reason;  // why it is not
};

struct Choice {
  std::string from;                  // this host's address
  std::string to;                    // the peer's
  std::string interface;             // that `from` is on
  std::string transport;             // "verbs", "tcp"; empty: none
  std::string reason;                // why not the one that auto prefers, or why there is none
  std::vector<RailCandidate> rails;  // the usable ones first
};

// `from` and `to` are addresses, not names.
Choice Choose(const Facts& facts, absl::string_view from, absl::string_view to);

}  // namespace mcp::info

#endif  // MCP_TOOLS_MCP_INFO_CHOICE_H_
