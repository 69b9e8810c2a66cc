// Socket addresses, as values and as text.
#ifndef MCP_TRANSPORTS_TCP_ADDRESS_H_
#define MCP_TRANSPORTS_TCP_ADDRESS_H_

#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace mcp::internal {

struct SocketAddress {
  sockaddr_storage storage = {};
  socklen_t length = 0;

  int family() const { return storage.ss_family; }
  sockaddr* raw() { return reinterpret_cast<sockaddr*>(&storage); }
  const sockaddr* raw() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

// More addresses of one name are not tried.
inline constexpr size_t kAddressesPerNameMax = 8;

// "HOST:PORT" or "[IPV6]:PORT". Only names go to the resolver, which may block. At least one address, or why not.
absl::StatusOr<std::vector<SocketAddress>> ResolveAddress(absl::string_view text);

// "127.0.0.1:18515", "[::1]:18515", "[fe80::1%eth0]:18515"
std::string FormatAddress(const SocketAddress& address);

absl::StatusOr<SocketAddress> LocalAddress(int fd);
absl::StatusOr<SocketAddress> RemoteAddress(int fd);

// The same host address; ports may differ. An IPv4 address equals its IPv6-mapped form.
bool SameHostAddress(const SocketAddress& a, const SocketAddress& b);
bool SamePort(const SocketAddress& a, const SocketAddress& b);
// The same host address with another port, in the host's byte order.
SocketAddress WithPort(SocketAddress address, uint16_t port);
bool IsLoopback(const SocketAddress& address);

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_TCP_ADDRESS_H_
