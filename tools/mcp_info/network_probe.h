// The first steps of a path: names, routes, a TCP connection; and RDMA's own address resolution.
#ifndef MCP_TOOLS_MCP_INFO_NETWORK_PROBE_H_
#define MCP_TOOLS_MCP_INFO_NETWORK_PROBE_H_

#include <sys/socket.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace mcp::info {

struct Endpoint {
  sockaddr_storage address = {};
  socklen_t length = 0;

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address); }
  std::string text() const;  // without the port
};

// kNotFound, with the resolver's words.
absl::StatusOr<std::vector<Endpoint>> Resolve(const std::string& host, uint16_t port);

// The address from which this host would send there. kUnavailable: no route.
absl::StatusOr<std::string> SourceOf(const Endpoint& to);

// Connects and closes. The message is the system's word: "ECONNREFUSED (Connection refused)"; the code
// kFailedPrecondition: refused, kDeadlineExceeded: no answer, else kUnavailable.
absl::Status TryTcp(const Endpoint& to, std::chrono::milliseconds timeout);

// rdma_resolve_addr and rdma_resolve_route: which local device leads there. kUnimplemented where this build has no
// librdmacm.
struct RdmaRoute {
  std::string device;
  int port = 0;
};
absl::StatusOr<RdmaRoute> ResolveRdma(const Endpoint& to, std::chrono::milliseconds timeout);

}  // namespace mcp::info

#endif  // MCP_TOOLS_MCP_INFO_NETWORK_PROBE_H_
