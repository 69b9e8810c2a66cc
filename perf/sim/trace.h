// What contestants meet: a path that changes from transfer to transfer, and what every alternative would have taken.
//
// The world moves with the number of transfers, not with time, so that all contestants meet the same one. For each
// transfer each alternative's outcome is simulated beforehand from the same state of the path; transfers do not
// overlap.
#ifndef MCP_PERF_SIM_TRACE_H_
#define MCP_PERF_SIM_TRACE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "mcp/context.h"
#include "perf/sim/transfer_sim.h"

namespace mcp::internal {

struct Trace {
  std::string name;
  std::vector<Alternative> alternatives;
  bool stationary = false;  // nothing changes but chance
  // Where something slowly becomes better by little: the state in which that is so. ~0: nothing does.
  uint32_t settled_state = ~0u;

  struct Step {
    uint64_t bytes = 0;
    uint32_t state = 0;  // of the path: equal states are alike; what an oracle knows
    uint16_t up = 3;     // rails
  };
  std::vector<Step> steps;
  std::vector<Outcome> outcomes;  // alternatives.size() a step

  const Outcome& At(size_t step, size_t alternative) const {
    return outcomes[step * alternatives.size() + alternative];
  }
};

// Names of all traces, in the order of the table.
std::vector<std::string> TraceNames();

// `transfers` is what the trace is cut or stretched to. The same arguments give the same trace.
Trace MakeTrace(const std::string& name, uint32_t transfers, uint64_t seed);

}  // namespace mcp::internal

#endif  // MCP_PERF_SIM_TRACE_H_
