// Profiles from simulation: what each protocol costs over ranges of bandwidth, latency and loss.
#ifndef MCP_TOOLS_MCP_TUNE_SWEEP_H_
#define MCP_TOOLS_MCP_TUNE_SWEEP_H_

#include <cstdint>
#include <vector>

#include "lib/context/profile.h"

namespace mcp::internal {

struct SweepOptions {
  std::vector<double> gigabits_per_s = {10, 25, 100, 200, 400};
  std::vector<double> latencies_us = {2, 5, 20, 100};
  std::vector<double> losses = {0, 1e-5, 1e-4, 1e-3, 1e-2, 5e-2, 0.1};
  uint32_t transfers = 300;  // a protocol and point
  uint64_t seed = 1;
};

// One rail; eager, bulk and stream. Sizes from 4 KiB to 16 MiB. The same options give the same profile.
Profile Sweep(const SweepOptions& options);

}  // namespace mcp::internal

#endif  // MCP_TOOLS_MCP_TUNE_SWEEP_H_
