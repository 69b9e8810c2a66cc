// One transfer in virtual time: the production machines of lib/protocol over a simulated network.
#ifndef MCP_PERF_SIM_TRANSFER_SIM_H_
#define MCP_PERF_SIM_TRANSFER_SIM_H_

#include <cstdint>

#include "absl/types/span.h"
#include "mcp/context.h"
#include "perf/sim/network.h"

namespace mcp::internal {

struct Outcome {
  int64_t latency_ns = 0;
  uint32_t retransmits = 0;
  bool failed = false;  // its rail is dead: it was given up
};

// From the call of Send to its completion, on idle rails. The same arguments give the same outcome.
Outcome SimulateTransfer(const Alternative& alternative, uint64_t bytes, absl::Span<const RailState> rails,
                         const HostCosts& costs, uint64_t seed);

}  // namespace mcp::internal

#endif  // MCP_PERF_SIM_TRANSFER_SIM_H_
