#include "transports/tcp/address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"
#include "lib/base/endpoint.h"
#include "lib/base/errno_status.h"
#include "lib/base/status_macros.h"
#include "transports/tcp/tcp_transport.h"

namespace mcp::internal {
namespace {

// The 16 bytes of the address, IPv4 in its mapped form.
in6_addr HostBytes(const SocketAddress& address) {
  in6_addr bytes = {};
  if (address.family() == AF_INET6) {
    bytes = reinterpret_cast<const sockaddr_in6*>(&address.storage)->sin6_addr;
  } else if (address.family() == AF_INET) {
    bytes.s6_addr[10] = 0xff;
    bytes.s6_addr[11] = 0xff;
    std::memcpy(&bytes.s6_addr[12], &reinterpret_cast<const sockaddr_in*>(&address.storage)->sin_addr, 4);
  }
  return bytes;
}

in_port_t PortOf(const SocketAddress& address) {
  return address.family() == AF_INET6 ? reinterpret_cast<const sockaddr_in6*>(&address.storage)->sin6_port
                                      : reinterpret_cast<const sockaddr_in*>(&address.storage)->sin_port;
}

// null and `error` when the host is not numeric, or cannot be resolved.
std::unique_ptr<addrinfo, void (*)(addrinfo*)> Lookup(const Endpoint& endpoint, int flags, int* error) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | flags;
  addrinfo* found = nullptr;
  *error = getaddrinfo(endpoint.host.c_str(), absl::StrCat(endpoint.port).c_str(), &hints, &found);
  return {*error == 0 ? found : nullptr, [](addrinfo* list) {
            if (list != nullptr) freeaddrinfo(list);
          }};
}

}  // namespace

absl::StatusOr<std::vector<SocketAddress>> ResolveAddress(absl::string_view text) {
  MCP_ASSIGN_OR_RETURN(const Endpoint endpoint, ParseEndpoint(text));
  int error = 0;
  auto list = Lookup(endpoint, AI_NUMERICHOST, &error);
  if (list == nullptr) list = Lookup(endpoint, 0, &error);
  if (list == nullptr) {
    const std::string what = absl::StrCat("tcp: resolve ", text, ": ");
    if (error == EAI_SYSTEM) return ErrnoStatus(errno, what);
    if (error == EAI_AGAIN) return absl::UnavailableError(absl::StrCat(what, gai_strerror(error)));
    return absl::NotFoundError(absl::StrCat(what, gai_strerror(error)));
  }
  std::vector<SocketAddress> addresses;
  for (const addrinfo* it = list.get(); it != nullptr && addresses.size() < kAddressesPerNameMax; it = it->ai_next) {
    if (it->ai_addrlen > sizeof(sockaddr_storage)) continue;
    SocketAddress& address = addresses.emplace_back();
    std::memcpy(&address.storage, it->ai_addr, it->ai_addrlen);
    address.length = it->ai_addrlen;
  }
  if (addresses.empty()) return absl::NotFoundError(absl::StrCat("tcp: resolve ", text, ": no address"));
  return addresses;
}

std::string FormatAddress(const SocketAddress& address) {
  char host[NI_MAXHOST];
  char port[NI_MAXSERV];
  const int error = getnameinfo(address.raw(), address.length, host, sizeof(host), port, sizeof(port),
                                NI_NUMERICHOST | NI_NUMERICSERV);
  if (error != 0) return "?";
  return address.family() == AF_INET6 ? absl::StrCat("[", host, "]:", port) : absl::StrCat(host, ":", port);
}

absl::StatusOr<SocketAddress> LocalAddress(int fd) {
  SocketAddress address;
  address.length = sizeof(address.storage);
  if (getsockname(fd, address.raw(), &address.length) != 0) return ErrnoStatus(errno, "tcp: getsockname");
  return address;
}

absl::StatusOr<SocketAddress> RemoteAddress(int fd) {
  SocketAddress address;
  address.length = sizeof(address.storage);
  if (getpeername(fd, address.raw(), &address.length) != 0) return ErrnoStatus(errno, "tcp: getpeername");
  return address;
}

bool SameHostAddress(const SocketAddress& a, const SocketAddress& b) {
  const in6_addr bytes_a = HostBytes(a);
  const in6_addr bytes_b = HostBytes(b);
  return std::memcmp(&bytes_a, &bytes_b, sizeof(in6_addr)) == 0;
}

bool SamePort(const SocketAddress& a, const SocketAddress& b) { return PortOf(a) == PortOf(b); }

SocketAddress WithPort(SocketAddress address, uint16_t port) {
  if (address.family() == AF_INET6) {
    reinterpret_cast<sockaddr_in6*>(&address.storage)->sin6_port = htons(port);
  } else {
    reinterpret_cast<sockaddr_in*>(&address.storage)->sin_port = htons(port);
  }
  return address;
}

bool IsLoopback(const SocketAddress& address) {
  const in6_addr bytes = HostBytes(address);
  if (IN6_IS_ADDR_V4MAPPED(&bytes)) return bytes.s6_addr[12] == 127;
  return IN6_IS_ADDR_LOOPBACK(&bytes);
}

absl::StatusOr<std::vector<std::string>> ResolveTcpAddress(absl::string_view address) {
  MCP_ASSIGN_OR_RETURN(const std::vector<SocketAddress> addresses, ResolveAddress(address));
  std::vector<std::string> texts;
  for (const SocketAddress& each : addresses) texts.push_back(FormatAddress(each));
  return texts;
}

}  // namespace mcp::internal
