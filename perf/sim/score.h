// How well somebody chose, against an oracle.
//
// The oracle knows the state of the path at each transfer and what each alternative takes on average in that state, for
// that class of size, over the whole trace. It does not know the dice of a single transfer: nobody could use that.
#ifndef MCP_PERF_SIM_SCORE_H_
#define MCP_PERF_SIM_SCORE_H_

#include <cstdint>
#include <vector>

#include "perf/sim/contestant.h"
#include "perf/sim/trace.h"

namespace mcp::internal {

class Oracle {
 public:
  explicit Oracle(const Trace& trace);
  uint32_t Best(size_t step) const { return best_[step]; }
  // The choice costs at most 10 % more than the best, on average in this state.
  bool IsGood(size_t step, uint32_t alternative) const;
  // From this step on another alternative is the best, and what was the best has become at least twice as slow: a
  // contestant that uses it can see it. Otherwise the news is about what it does not use.
  bool IsVisibleChange(size_t step) const;
  bool IsSilentChange(size_t step) const;
  double MeanOf(size_t step, uint32_t alternative) const { return means_[cell_[step]][alternative]; }

 private:
  bool IsChange(size_t step) const;

  std::vector<uint32_t> state_;  // a step
  std::vector<uint32_t> cell_;   // of (state, size class), a step
  std::vector<std::vector<double>> means_;
  std::vector<uint32_t> best_;
};

struct Score {
  double total_ns = 0;
  double regret = 0;  // total over the oracle's total, less 1
  uint64_t failures = 0;
  uint64_t probes = 0;
  uint64_t switches = 0;           // of the choice for a size class, probes not counted
  uint64_t switches_settled = 0;   // of these, after the first 1000 transfers
  uint64_t switches_needless = 0;  // of these, to what is not better by something
  // Each time that something has slowly become better by little: transfers until it is used for good, more or less
  // (those that went another way, probes aside).
  std::vector<uint32_t> until_right;
  std::vector<uint32_t> reactions_visible;  // transfers from each change until 18 of 20 choices are good
  std::vector<uint32_t> reactions_silent;
};

Score Play(const Trace& trace, const Oracle& oracle, Contestant* contestant);

double Total(const Trace& trace, const Oracle& oracle);

// 0 of an empty list.
uint32_t Percentile(std::vector<uint32_t> values, uint32_t percent);

}  // namespace mcp::internal

#endif  // MCP_PERF_SIM_SCORE_H_
