#include "perf/sim/goals.h"

#include <algorithm>
#include <functional>
#include <iterator>

namespace mcp::internal {
namespace {

constexpr const char* kEveryThousand[] = {"fourfold step", "loss comes and goes", "anything", "drift"};

struct Goal {
  std::string text;
  double limit;
  std::function<bool(const Trace&)> concerns;
  std::function<double(const Result&)> measure;
};

bool IsStationary(const Trace& trace) { return trace.stationary; }
bool IsAny(const Trace&) { return true; }
bool ChangesEveryThousand(const Trace& trace) {
  return std::find(std::begin(kEveryThousand), std::end(kEveryThousand), trace.name) != std::end(kEveryThousand);
}
std::function<bool(const Trace&)> Named(const std::string& name) {
  return [name](const Trace& trace) { return trace.name == name; };
}

double Regret(const Result& result) { return 100 * result.model->regret; }
double Needless(const Result& result) {
  return 100'000.0 * static_cast<double>(result.model->switches_needless) /
         static_cast<double>(result.trace->steps.size());
}
double Reaction(const Result& result) { return Percentile(result.model->reactions_visible, 95); }
double UntilRight(const Result& result) { return Percentile(result.model->until_right, 50); }
double BeyondFixed(const Result& result) { return 100 * (result.model->total_ns / result.best_fixed_ns - 1); }
double BeyondRules(const Result& result) { return 100 * (result.model->total_ns / result.rules_ns - 1); }

// Where one choice is the best for ever, whoever always makes it is better by the price of looking whether anything
// else is: "never worse than rules" holds up to that.
std::vector<Goal> Goals() {
  return {
      {"regret where nothing changes, %", 3, IsStationary, Regret},
      {"regret where the path changes every 1,000 transfers, %", 8, ChangesEveryThousand, Regret},
      {"transfers to leave what became four times as slow, p95", 20, Named("fourfold step"), Reaction},
      {"needless switches where nothing changes, /100,000", 1, IsStationary, Needless},
      {"transfers until 3 % less are found, median", 5000, Named("settles, 3 % apart"), UntilRight},
      {"transfers until 5 % less are found, median", 2000, Named("settles, 5 % apart"), UntilRight},
      {"transfers until 8 % less are found, median", 500, Named("settles, 8 % apart"), UntilRight},
      {"beyond the best fixed choice, %", 2, IsAny, BeyondFixed},
      {"beyond rules, % (the price of looking)", 0.05, IsAny, BeyondRules},
  };
}

}  // namespace

std::vector<GoalVerdict> Judge(const std::vector<Result>& results) {
  std::vector<GoalVerdict> verdicts;
  for (const Goal& goal : Goals()) {
    GoalVerdict verdict;
    verdict.goal = goal.text;
    verdict.limit = goal.limit;
    for (const Result& result : results) {
      if (result.trace->steps.size() < kTransfersJudged || !goal.concerns(*result.trace)) continue;
      const double measured = goal.measure(result);
      if (!verdict.where.empty() && measured <= verdict.measured) continue;
      verdict.measured = measured;
      verdict.where = result.trace->name;
    }
    verdicts.push_back(verdict);
  }
  return verdicts;
}

}  // namespace mcp::internal
