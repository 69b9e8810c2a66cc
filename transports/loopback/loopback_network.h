// An in-process network: the transports of engines in one process, joined by memory instead of a device.
//
// Addresses are "loopback:NAME". Each LoopbackNetwork is a world of its own: names of one are unknown to another.
//
// It is deterministic: when one thread drives all its transports, the same calls under the same clock give the same
// events. With several threads it is a real transport, one lane each.
//
// Thread rule: every member may be called from any thread; a transport that it made belongs to one lane.
// Lifetime: transports keep the network alive. The clock and the region table outlive the transport.
#ifndef MCP_TRANSPORTS_LOOPBACK_LOOPBACK_NETWORK_H_
#define MCP_TRANSPORTS_LOOPBACK_LOOPBACK_NETWORK_H_

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/base/clock.h"
#include "lib/memory/region_table.h"
#include "lib/transport/transport.h"

namespace mcp::internal {

class LoopbackMailbox;

struct LoopbackOptions {
  uint32_t message_bytes_max = (64 << 10) + kHeaderBytesMax;
  uint64_t write_bytes_max = uint64_t{1} << 30;
  uint32_t eager_bytes_max = 8 << 10;
  int64_t tail_probe_ns = 0;  // what TransportInfo asks for
  // Work requests on their way, for each direction of a connection; a power of two. More is back-pressure.
  uint32_t queue_depth = 128;
  uint32_t connections_max = 4096;  // of one transport
  // The path's model, under the injected clock. Zero: none.
  int64_t delay_ns = 0;           // from Post to delivery, for everything
  uint64_t bytes_per_second = 0;  // of each direction of a connection
};

class LoopbackNetwork : public std::enable_shared_from_this<LoopbackNetwork> {
 public:
  static std::shared_ptr<LoopbackNetwork> Create(const LoopbackOptions& options = {});

  std::unique_ptr<Transport> CreateTransport(Clock* clock, RegionTable* regions);

  const LoopbackOptions& options() const { return options_; }

  // For its transports: the directory of who listens.
  absl::StatusOr<std::string> Register(absl::string_view address, std::shared_ptr<LoopbackMailbox> listener);
  void Unregister(absl::string_view bound_address, const LoopbackMailbox* listener);
  void UnregisterAll(const LoopbackMailbox* listener);
  // Hands the pending connection to whoever listens there.
  absl::Status Offer(absl::string_view address, std::unique_ptr<PendingConnection> pending);

 private:
  explicit LoopbackNetwork(const LoopbackOptions& options) : options_(options) {}

  const LoopbackOptions options_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<LoopbackMailbox>, std::less<>> listeners_;
  uint64_t names_made_ = 0;  // for "loopback:" and for transports
  uint64_t transports_made_ = 0;
};

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_LOOPBACK_LOOPBACK_NETWORK_H_
