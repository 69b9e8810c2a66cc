// What `auto` would choose between two addresses, and why: a pure function of the facts.
#ifndef MCP_TOOLS_MCP_INFO_CHOICE_H_
#define MCP_TOOLS_MCP_INFO_CHOICE_H_

#include <cstdint>
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
  internal::GidKind kind = internal::GidKind::kNone;
  bool usable = false;
  std::string reason;  // why it is not, or whom it does not reach
};

// A port of this host's RDMA devices, in the order in which rails of such a path take them.
struct RankedPort {
  std::string device;
  int port = 0;
  int gid_index = -1;  // of the GID that it is ranked by; -1: it has none
  std::string gid_type;
  std::string address;  // that the GID stands for
  double speed_gbps = 0;
  uint32_t numa_distance = 0;                // from the CPUs that this process may use
  internal::NodeDistances numa_distances{};  // from each node of memory
  bool used = false;
  std::string reason;  // why it comes where it does, or is not used
};

struct Choice {
  std::string from;                  // this host's address
  std::string to;                    // the peer's
  std::string interface;             // that `from` is on
  std::string transport;             // "verbs", "tcp"; empty: none
  std::string reason;                // why not the one that auto prefers, or why there is none
  std::vector<RailCandidate> rails;  // on that interface, for the first rail: the usable ones first, the best of them
  std::vector<RankedPort> ports;     // of all devices, for all rails: the used ones first, the best before the others
};

// `from` and `to` are addresses, not names.
Choice Choose(const Facts& facts, absl::string_view from, absl::string_view to);

}  // namespace mcp::info

#endif  // MCP_TOOLS_MCP_INFO_CHOICE_H_
