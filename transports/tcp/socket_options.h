// Sockets and what is set on them. Every socket is non-blocking (io_uring waits on them all the same; splice must not).
#ifndef MCP_TRANSPORTS_TCP_SOCKET_OPTIONS_H_
#define MCP_TRANSPORTS_TCP_SOCKET_OPTIONS_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/transport/transport.h"
#include "transports/tcp/address.h"
#include "transports/tcp/descriptor.h"

namespace mcp::internal {

// A socket that is about to connect or listen. An empty congestion control leaves the system's.
absl::StatusOr<Descriptor> MakeSocket(int family, const std::string& congestion_control);
absl::StatusOr<Descriptor> MakeListener(const SocketAddress& address, const std::string& congestion_control);
// The host address that a socket connects from; its port is chosen when it connects.
absl::Status BindSource(int fd, const SocketAddress& source);

// For sockets that accept gave.
void SetNoDelay(int fd);

// The name in force; empty if the system does not say.
std::string CongestionControl(int fd);
// 0, or the errno.
int SetCongestionControl(int fd, const std::string& name);

// The error that the socket holds; 0 for none.
int TakeSocketError(int fd);

// Adds what TCP_INFO says of the socket: the worst RTT, the sums of the others.
void AddStatistics(int fd, PathStatistics* statistics);

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_TCP_SOCKET_OPTIONS_H_
