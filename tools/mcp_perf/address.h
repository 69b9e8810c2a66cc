// Addresses as the engine takes them, and listening on all of a host's.
#ifndef MCP_TOOLS_MCP_PERF_ADDRESS_H_
#define MCP_TOOLS_MCP_PERF_ADDRESS_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mcp/engine.h"

namespace mcp::perf {

// "host:18515", "[::1]:18515".
std::string JoinAddress(absl::string_view host, uint16_t port);
// The port of such an address.
absl::StatusOr<uint16_t> AddressPort(absl::string_view address);

struct Listening {
  std::vector<Listener> listeners;
  uint16_t port = 0;
};

// Listens on `bind`, or on all addresses of both families when it is empty. Port 0: one that is free.
absl::StatusOr<Listening> ListenOn(Engine& engine, absl::string_view bind, uint16_t port, const SessionOptions& options,
                                   const std::function<void(Session)>& accept);

}  // namespace mcp::perf

#endif  // MCP_TOOLS_MCP_PERF_ADDRESS_H_
