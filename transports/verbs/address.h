// Socket addresses and GIDs, as the connection manager takes them.
#ifndef MCP_TRANSPORTS_VERBS_ADDRESS_H_
#define MCP_TRANSPORTS_VERBS_ADDRESS_H_

#include <infiniband/verbs.h>
#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "transports/verbs/calls.h"
#include "transports/verbs/ranking.h"

namespace mcp::internal {

// An IPv4 address in the form of an IPv6 one, as in GIDs: ::ffff:0:0/96.
inline constexpr std::array<uint8_t, 12> kMappedIpv4Prefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
inline bool IsMappedIpv4(const void* sixteen) {
  return std::memcmp(sixteen, kMappedIpv4Prefix.data(), kMappedIpv4Prefix.size()) == 0;
}

struct VerbsAddress {
  sockaddr_storage storage = {};

  sockaddr* raw() { return reinterpret_cast<sockaddr*>(&storage); }
  const sockaddr* raw() const { return reinterpret_cast<const sockaddr*>(&storage); }
  // Four or sixteen, as the network has them; none of an unset address.
  absl::Span<const uint8_t> host_bytes() const;
  uint16_t port() const;
  void set_port(uint16_t port);
  bool is_any() const;  // "0.0.0.0", "::"
  bool is_link_local() const;
  bool SameHost(const VerbsAddress& other) const {
    return storage.ss_family == other.storage.ss_family && host_bytes() == other.host_bytes();
  }
};

// "1.2.3.4:5" or "[IPv6]:5"; names are not resolved here.
absl::StatusOr<VerbsAddress> ParseVerbsAddress(absl::string_view text);
std::string FormatVerbsAddress(const sockaddr* address);
// "1.2.3.4", without the port.
std::string FormatVerbsHost(const VerbsAddress& address);
// Of this host, from which it would send there; an address of this host is its own. kUnavailable: no route.
absl::StatusOr<VerbsAddress> SourceFor(const VerbsAddress& target);
VerbsAddress CopyVerbsAddress(const sockaddr* address);

GidKind KindOfGid(const GidEntry& gid);
std::string FormatGid(const GidEntry& gid);
// The IP address that a RoCE GID stands for; none on InfiniBand.
std::optional<VerbsAddress> AddressOfGid(const GidEntry& gid);

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_VERBS_ADDRESS_H_
