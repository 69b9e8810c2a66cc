#include "transports/verbs/address.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "lib/base/endpoint.h"
#include "lib/base/errno_status.h"
#include "lib/base/status_macros.h"
#include "transports/verbs/verbs_transport.h"

namespace mcp::internal {
namespace {

bool IsLinkLocal(const ibv_gid& gid) { return gid.raw[0] == 0xfe && (gid.raw[1] & 0xc0) == 0x80; }

absl::StatusOr<VerbsAddress> FromResolver(const Endpoint& endpoint, absl::string_view text, int flags) {
  addrinfo hints = {};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(endpoint.host.c_str(), absl::StrCat(endpoint.port).c_str(), &hints, &found);
  if (error != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "address '", text, "': ", error == EAI_SYSTEM ? ErrnoText(errno) : std::string(gai_strerror(error))));
  }
  VerbsAddress address;
  std::memcpy(&address.storage, found->ai_addr, std::min<size_t>(found->ai_addrlen, sizeof(address.storage)));
  freeaddrinfo(found);
  return address;
}

}  // namespace

absl::Span<const uint8_t> VerbsAddress::host_bytes() const {
  if (storage.ss_family == AF_INET) {
    const auto& in = reinterpret_cast<const sockaddr_in&>(storage);
    return {reinterpret_cast<const uint8_t*>(&in.sin_addr), sizeof(in.sin_addr)};
  }
  if (storage.ss_family == AF_INET6) {
    const auto& in = reinterpret_cast<const sockaddr_in6&>(storage);
    return {reinterpret_cast<const uint8_t*>(&in.sin6_addr), sizeof(in.sin6_addr)};
  }
  return {};
}

// The port has the same place in both families.
uint16_t VerbsAddress::port() const { return ntohs(reinterpret_cast<const sockaddr_in&>(storage).sin_port); }
void VerbsAddress::set_port(uint16_t port) { reinterpret_cast<sockaddr_in&>(storage).sin_port = htons(port); }

bool VerbsAddress::is_any() const {
  const absl::Span<const uint8_t> bytes = host_bytes();
  return !bytes.empty() && std::all_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte == 0; });
}

bool VerbsAddress::is_link_local() const {
  const absl::Span<const uint8_t> bytes = host_bytes();
  return bytes.size() == sizeof(in6_addr) && bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80;
}

VerbsAddress CopyVerbsAddress(const sockaddr* address) {
  VerbsAddress copy;
  if (address->sa_family != AF_INET && address->sa_family != AF_INET6) return copy;
  std::memcpy(&copy.storage, address, address->sa_family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6));
  return copy;
}

absl::StatusOr<VerbsAddress> ParseVerbsAddress(absl::string_view text) {
  const absl::StatusOr<Endpoint> endpoint = ParseEndpoint(text);
  if (!endpoint.ok())
    return absl::InvalidArgumentError(absl::StrCat("address '", text, "': ", endpoint.status().message()));
  return FromResolver(*endpoint, text, AI_NUMERICHOST);
}

absl::StatusOr<std::string> ResolveVerbsAddress(absl::string_view text) {
  MCP_ASSIGN_OR_RETURN(const Endpoint endpoint, ParseEndpoint(text));
  MCP_ASSIGN_OR_RETURN(VerbsAddress address, FromResolver(endpoint, text, 0));
  return FormatVerbsAddress(address.raw());
}

std::string FormatVerbsAddress(const sockaddr* address) {
  char host[INET6_ADDRSTRLEN] = "?";
  if (address->sa_family == AF_INET) {
    const auto* in = reinterpret_cast<const sockaddr_in*>(address);
    inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
    return FormatEndpoint({host, ntohs(in->sin_port)});
  }
  if (address->sa_family == AF_INET6) {
    const auto* in = reinterpret_cast<const sockaddr_in6*>(address);
    inet_ntop(AF_INET6, &in->sin6_addr, host, sizeof(host));
    std::string text = host;
    char zone[IF_NAMESIZE];
    if (in->sin6_scope_id != 0 && if_indextoname(in->sin6_scope_id, zone) != nullptr) absl::StrAppend(&text, "%", zone);
    return FormatEndpoint({text, ntohs(in->sin6_port)});
  }
  return absl::StrCat("address family ", address->sa_family);
}

std::string FormatVerbsHost(const VerbsAddress& address) {
  const absl::StatusOr<Endpoint> endpoint = ParseEndpoint(FormatVerbsAddress(address.raw()));
  return endpoint.ok() ? endpoint->host : "?";
}

// To connect a datagram socket sends nothing.
absl::StatusOr<VerbsAddress> SourceFor(const VerbsAddress& target) {
  const int probe = socket(target.storage.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (probe < 0) return ErrnoStatus(errno, "socket");
  VerbsAddress to = target;
  if (to.port() == 0) to.set_port(1);  // any will do
  VerbsAddress source;
  socklen_t length = sizeof(source.storage);
  const bool found =
      connect(probe, to.raw(), sizeof(to.storage)) == 0 && getsockname(probe, source.raw(), &length) == 0;
  const int error = errno;
  close(probe);
  if (found) return source;
  return absl::UnavailableError(absl::StrCat("no route to ", FormatVerbsHost(target), ": ", ErrnoText(error)));
}

GidKind KindOfGid(const GidEntry& gid) {
  return KindOfGid(gid.gid.raw, gid.roce_v1   ? GidVersion::kRoceV1
                                : gid.roce_v2 ? GidVersion::kRoceV2
                                              : GidVersion::kInfiniBand);
}

std::string FormatGid(const GidEntry& gid) {
  char text[INET6_ADDRSTRLEN] = "?";
  inet_ntop(AF_INET6, gid.gid.raw, text, sizeof(text));
  return absl::StrCat(text, " (index ", gid.index, ", ",
                      gid.roce_v2   ? "RoCE v2"
                      : gid.roce_v1 ? "RoCE v1"
                                    : "InfiniBand",
                      ")");
}

std::optional<VerbsAddress> AddressOfGid(const GidEntry& gid) {
  if (!gid.roce_v1 && !gid.roce_v2) return std::nullopt;
  VerbsAddress address;
  if (IsMappedIpv4(gid.gid.raw)) {
    auto* in = reinterpret_cast<sockaddr_in*>(&address.storage);
    in->sin_family = AF_INET;
    std::memcpy(&in->sin_addr, gid.gid.raw + kMappedIpv4Prefix.size(), 4);
    return address;
  }
  if (IsLinkLocal(gid.gid)) return std::nullopt;  // ambiguous without its interface
  auto* in = reinterpret_cast<sockaddr_in6*>(&address.storage);
  in->sin6_family = AF_INET6;
  std::memcpy(&in->sin6_addr, gid.gid.raw, sizeof(in->sin6_addr));
  return address;
}

}  // namespace mcp::internal
