// The TCP transport: each connection is two sockets, *control* for frames and small payload, *data* for the raw payload
// of writes, which the receiver's kernel copies straight into the resolved destination.
//
// One TcpNetwork an engine, one Transport a lane; all of one network's transports can accept each other's pending
// connections. I/O is io_uring where the kernel lets us, epoll elsewhere; Fallbacks says which and why.
//
// Thread rule: TcpNetwork's members may be called from any thread. A Transport belongs to the thread that first calls
// Poll or Wait (its ring is created there); before that, Listen, Connect and Post may be called by one thread at a
// time. Its destructor may run on another thread once the lane's thread has ended.
//
// Lifetime rule: the RegionTable, the Clock and the Logger outlive the transports and the network. A PendingConnection
// may outlive the Transport that produced it. Destroying a Transport ends its connections without kClosed events;
// nothing touches memory after.
#ifndef MCP_TRANSPORTS_TCP_TCP_TRANSPORT_H_
#define MCP_TRANSPORTS_TCP_TCP_TRANSPORT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/memory/region_table.h"
#include "lib/transport/transport.h"

namespace mcp::internal {

struct TcpConfig {
  enum class Io : uint8_t {
    kAuto,     // io_uring, else epoll with a recorded fallback
    kIoUring,  // io_uring or an error
    kEpoll,
  };
  enum class ZeroCopy : uint8_t {
    kAuto,  // page references (vmsplice) between processes of one host, SEND_ZC where its report says "not copied"
    kOff,
    kOn,  // page references on every path
  };

  Io io = Io::kAuto;
  // Empty: Cubic (or Reno) between processes of one host, the system's own elsewhere. Each connection's description
  // names what it uses and why.
  std::string congestion_control;
  ZeroCopy zero_copy = ZeroCopy::kAuto;
  // Whoever drives the lanes polls them: single messages matter more than batches.
  bool polled = false;
  // How long an accepted socket may take to say who it is, and to be joined by its sibling.
  int64_t handshake_timeout_ns = 3'000'000'000;
  // Sockets of one listener that have not become a connection yet. More are closed at once.
  uint32_t pending_sockets_max = 512;
  // Per lane.
  uint32_t connections_max = 4096;
};

struct TcpFallback {
  std::string wanted;  // "io_uring"
  std::string used;    // "epoll"
  std::string reason;  // "io_uring_setup: EPERM (kernel.io_uring_disabled is 2)"
};

// What one engine's TCP transports share. Opaque but for what is asked of it.
class TcpNetwork {
 public:
  virtual ~TcpNetwork() = default;
  // What could not be had, with reasons; grows as connections find out more.
  virtual std::vector<TcpFallback> Fallbacks() const = 0;
  virtual bool uses_io_uring() const = 0;
};

// Probes the host by doing: io_uring's set-up, the congestion controls, pipes. kInvalidArgument names the option;
// kUnavailable: io_uring was insisted on and refused.
absl::StatusOr<std::shared_ptr<TcpNetwork>> CreateTcpNetwork(const TcpConfig& config, Logger* logger);

// The network must come from CreateTcpNetwork. `lane` is for messages only.
//
// Of the contract's open points:
//   Connect takes "HOST:PORT" and "[IPV6]:PORT". Numeric hosts never block; a name is resolved in the call, which may
//   block for as long as the resolver takes, so callers with other work on the lane resolve names first.
//   Payload of writes may leave by page reference: it must stay unchanged until the peer's own confirmation. Where
//   kSent is asked for (signaled) payload is copied by the kernel instead, so that the event means what it says.
//   kClosed's status carries the peer's reason when the peer closed with one.
absl::StatusOr<std::unique_ptr<Transport>> CreateTcpTransport(std::shared_ptr<TcpNetwork> network, RegionTable* regions,
                                                              Clock* clock, uint32_t lane);

// Numeric "HOST:PORT" for each address that the name has; may block in the resolver. Numeric input comes back as it is.
absl::StatusOr<std::vector<std::string>> ResolveTcpAddress(absl::string_view address);

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_TCP_TCP_TRANSPORT_H_
