// The verbs transport under test: over a device of this host, or over a device in memory (fake_verbs.h). Both are
// absent from builds without libibverbs, which this hides.
#ifndef MCP_TESTS_SUPPORT_VERBS_KIND_H_
#define MCP_TESTS_SUPPORT_VERBS_KIND_H_

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "transports/verbs/verbs_transport.h"

namespace mcp::internal {

class FakeFabric;

std::string WhyNoVerbs(bool fake);
// "HOST:0" of this host's first device, of that family; empty when there is none.
std::string VerbsDeviceAddress(bool ipv6 = false);
// Every engine has so many devices on it, of so many ports; and the first two so many RDMA reads each way.
std::shared_ptr<FakeFabric> MakeFakeFabric(uint8_t devices = 1, uint8_t ports_each = 1,
                                           const std::array<int, 2>& reads = {16, 16});
// See fake_verbs.h: for one thread, and nothing that looks at payload.
std::shared_ptr<FakeFabric> MakeNoCostFabric();
// Of one engine; over this host's devices where the fabric is null.
absl::StatusOr<std::shared_ptr<VerbsNetwork>> MakeVerbsNetwork(const std::shared_ptr<FakeFabric>& fabric,
                                                               Logger* logger, const VerbsConfig& config = {});
absl::StatusOr<std::unique_ptr<Transport>> MakeVerbsTransport(const std::shared_ptr<VerbsNetwork>& network,
                                                              Clock* clock, uint32_t lane);

}  // namespace mcp::internal

#endif  // MCP_TESTS_SUPPORT_VERBS_KIND_H_
