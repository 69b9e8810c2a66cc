// What the context layer is to reach in simulation, and whether it did.
//
// Goals are of full runs: a path's first thousands of transfers pay for learning it, so that shares of short runs say
// something else. Of a run that is too short, or lacks the traces, a goal is not judged.
#ifndef MCP_PERF_SIM_GOALS_H_
#define MCP_PERF_SIM_GOALS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "perf/sim/score.h"
#include "perf/sim/trace.h"

namespace mcp::internal {

// How `model` did on one trace, and what others took for it.
struct Result {
  const Trace* trace = nullptr;
  const Score* model = nullptr;
  double rules_ns = 0;
  double best_fixed_ns = 0;
};

struct GoalVerdict {
  std::string goal;
  double limit = 0;
  double measured = 0;  // the worst
  std::string where;    // the trace; empty: not judged
  bool missed() const { return !where.empty() && measured > limit; }
};

inline constexpr uint32_t kTransfersJudged = 100'000;

std::vector<GoalVerdict> Judge(const std::vector<Result>& results);

}  // namespace mcp::internal

#endif  // MCP_PERF_SIM_GOALS_H_
