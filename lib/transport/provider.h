// One kind of transport, as an engine uses it: what its lanes' Transports share, and how they are made.
//
// Thread rule: any thread. Lifetime: outlives the Transports it made.
#ifndef MCP_LIB_TRANSPORT_PROVIDER_H_
#define MCP_LIB_TRANSPORT_PROVIDER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/base/clock.h"
#include "lib/memory/region_table.h"
#include "lib/memory/remote_window.h"
#include "lib/transport/transport.h"

namespace mcp::internal {

struct TransportFallback {
  std::string wanted;
  std::string used;
  std::string reason;
};

class TransportProvider {
 public:
  virtual ~TransportProvider() = default;

  virtual absl::StatusOr<std::unique_ptr<Transport>> CreateTransport(RegionTable* regions, Clock* clock,
                                                                     uint32_t lane) = 0;
  // Turns what a user calls a peer into what Connect and Listen take without blocking; may itself block.
  virtual absl::StatusOr<std::string> Resolve(absl::string_view address) = 0;
  virtual std::vector<TransportFallback> Fallbacks() const = 0;
  // Null where memory need not be made known to devices.
  virtual DeviceMemory* device_memory() { return nullptr; }
};

}  // namespace mcp::internal

#endif  // MCP_LIB_TRANSPORT_PROVIDER_H_
