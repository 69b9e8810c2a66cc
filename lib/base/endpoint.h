// "HOST:PORT" as text and as a value. Names are not resolved here.
#ifndef MCP_LIB_BASE_ENDPOINT_H_
#define MCP_LIB_BASE_ENDPOINT_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace mcp::internal {

struct Endpoint {
  std::string host;  // a name or an address, IPv6 without brackets; may carry a zone ("fe80::1%eth0")
  uint16_t port = 0;

  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

// "HOST:PORT", "[IPv6]:PORT", and, where there is a default port, "HOST" and "[IPv6]". An IPv6 address needs its
// brackets. kInvalidArgument says what was wrong.
absl::StatusOr<Endpoint> ParseEndpoint(absl::string_view text, std::optional<uint16_t> default_port = std::nullopt);

// What ParseEndpoint reads: "127.0.0.1:18515", "[::1]:18515".
std::string FormatEndpoint(const Endpoint& endpoint);

}  // namespace mcp::internal

#endif  // MCP_LIB_BASE_ENDPOINT_H_
