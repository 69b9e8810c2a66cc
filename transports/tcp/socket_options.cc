#include "transports/tcp/socket_options.h"

#include <linux/tcp.h>
#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "lib/base/errno_status.h"
#include "lib/base/status_macros.h"

namespace mcp::internal {
namespace {

constexpr int kListenBacklog = 1024;
constexpr size_t kCongestionControlNameMax = 16;  // TCP_CA_NAME_MAX

}  // namespace

absl::StatusOr<Descriptor> MakeSocket(int family, const std::string& congestion_control) {
  Descriptor socket(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
  if (!socket.valid()) {
    return ErrnoStatus(errno, errno == EMFILE ? "tcp: socket (see ulimit -n)" : "tcp: socket");
  }
  SetNoDelay(socket.get());
  if (!congestion_control.empty()) {
    const int error = SetCongestionControl(socket.get(), congestion_control);
    if (error != 0) return ErrnoStatus(error, absl::StrCat("tcp: TCP_CONGESTION ", congestion_control));
  }
  return socket;
}

absl::StatusOr<Descriptor> MakeListener(const SocketAddress& address, const std::string& congestion_control) {
  MCP_ASSIGN_OR_RETURN(Descriptor socket, MakeSocket(address.family(), congestion_control));
  const int one = 1;
  setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  if (bind(socket.get(), address.raw(), address.length) != 0) {
    return ErrnoStatus(errno, absl::StrCat("tcp: bind ", FormatAddress(address)));
  }
  if (listen(socket.get(), kListenBacklog) != 0) {
    return ErrnoStatus(errno, absl::StrCat("tcp: listen ", FormatAddress(address)));
  }
  return socket;
}

absl::Status BindSource(int fd, const SocketAddress& source) {
  // Without it the port would be taken for all peers at once, and hosts with many connections run out.
  const int one = 1;
  setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
  const SocketAddress address = WithPort(source, 0);
  if (bind(fd, address.raw(), address.length) == 0) return absl::OkStatus();
  return ErrnoStatus(errno, absl::StrCat("tcp: bind ", FormatAddress(address)));
}

void SetNoDelay(int fd) {
  const int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

std::string CongestionControl(int fd) {
  char name[kCongestionControlNameMax + 1] = {};
  socklen_t length = kCongestionControlNameMax;
  if (getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &length) != 0) return "";
  return name;
}

int SetCongestionControl(int fd, const std::string& name) {
  const int result = setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name.c_str(), static_cast<socklen_t>(name.size()));
  return result == 0 ? 0 : errno;
}

int TakeSocketError(int fd) {
  int error = 0;
  socklen_t length = sizeof(error);
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0) return errno;
  return error;
}

void AddStatistics(int fd, PathStatistics* statistics) {
  tcp_info info = {};
  socklen_t length = sizeof(info);
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) return;
  statistics->rtt_ns = std::max<uint64_t>(statistics->rtt_ns, uint64_t{info.tcpi_rtt} * 1000);
  statistics->retransmits += info.tcpi_total_retrans;
  if (length >= offsetof(tcp_info, tcpi_delivery_rate) + sizeof(info.tcpi_delivery_rate)) {
    statistics->delivery_rate_bytes_per_s += info.tcpi_delivery_rate;
  }
}

}  // namespace mcp::internal
