// RDMA by libibverbs and librdmacm: InfiniBand, RoCE, and soft-RoCE.
#ifndef MCP_TRANSPORTS_VERBS_VERBS_TRANSPORT_H_
#define MCP_TRANSPORTS_VERBS_VERBS_TRANSPORT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/memory/region_table.h"
#include "lib/memory/remote_window.h"
#include "lib/transport/provider.h"
#include "lib/transport/transport.h"

namespace mcp::internal {

struct VerbsConfig {
  // "mlx5_0", or "mlx5_0/1" for its port 1, in the order in which rails take them. Empty: the first rail goes by
  // whichever leads to the peer, the others by the best of the rest.
  std::vector<std::string> devices;
  int gid_index = -1;  // of the devices' GID tables, to connect from; -1: chosen
  // Of a queue pair. An unanswered packet is sent again after 4.096 us << timeout (67 ms), so often; devices may wait
  // up to four times as long. A dead peer is known after 0.4 s, or 1.6 s.
  uint8_t timeout = 14;
  uint8_t retry_count = 5;
  // Messages of a connection that its receiver has not reported, each way: the smaller of both ends' numbers, from 2 to
  // what the receive queue holds for each (queues.h).
  uint8_t credits = 64;
  // An operation that lets a peer write gets a window of its own, which closes with it.
  bool protect_operations = false;
};

// What the lanes of one engine share: devices, domains, registered memory.
class VerbsNetwork {
 public:
  virtual ~VerbsNetwork() = default;
  virtual DeviceMemory* memory() = 0;
  virtual std::vector<TransportFallback> Fallbacks() const = 0;
  // "HOST" or "HOST:PORT", of this host or of a peer: kUnavailable where no RDMA device has it, or the address from
  // which this host reaches it. May block.
  virtual absl::Status CheckAddress(absl::string_view address) = 0;
};

// kUnavailable: this host has no RDMA device that could be used; the message says why.
absl::StatusOr<std::shared_ptr<VerbsNetwork>> CreateVerbsNetwork(const VerbsConfig& config, Logger* logger);

absl::StatusOr<std::unique_ptr<Transport>> CreateVerbsTransport(std::shared_ptr<VerbsNetwork> network, Clock* clock,
                                                                uint32_t lane);

// "HOST:PORT" to the same with a numeric host. May block.
absl::StatusOr<std::string> ResolveVerbsAddress(absl::string_view address);

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_VERBS_VERBS_TRANSPORT_H_
