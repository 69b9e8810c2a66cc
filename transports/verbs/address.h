// Socket addresses and GIDs, as the connection manager takes them.
#ifndef MCP_TRANSPORTS_VERBS_ADDRESS_H_
#define MCP_TRANSPORTS_VERBS_ADDRESS_H_

#include <infiniband/verbs.h>
#include <sys/socket.h>

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "transports/verbs/calls.h"

namespace mcp::internal {

struct VerbsAddress {
  sockaddr_storage storage = {};

  sockaddr* raw() { return reinterpret_cast<sockaddr*>(&storage); }
};

// "1.2.3.4:5" or "[IPv6]:5"; names are not resolved here.
absl::StatusOr<VerbsAddress> ParseVerbsAddress(absl::string_view text);
std::string FormatVerbsAddress(const sockaddr* address);

// The higher the better: RoCE v2 before v1, routable before link-local.
int GidRank(const GidEntry& gid);
std::string FormatGid(const GidEntry& gid);
// The IP address that a RoCE GID stands for; none on InfiniBand.
std::optional<VerbsAddress> AddressOfGid(const GidEntry& gid);

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_VERBS_ADDRESS_H_
