#include "perf/sim/score.h"

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

namespace mcp::internal {
namespace {

constexpr uint32_t kWarmUp = 1000;   // transfers before switches are called needless
constexpr double kGoodCost = 1.10;   // of the best's
constexpr double kBetterBy = 0.005;  // what is better by less is none the better for it
constexpr uint32_t kReactionWindow = 20;
constexpr uint32_t kReactionGood = 18;
constexpr uint32_t kReactionMax = 1000;
constexpr int64_t kReconnectNs = 100'000'000;  // after a rail is up again, until the session has connected it

void CountSwitch(const Oracle& oracle, size_t step, uint32_t before, uint32_t chosen, Score* score) {
  if (before == chosen) return;
  ++score->switches;
  if (step < kWarmUp) return;
  ++score->switches_settled;
  const bool better = oracle.MeanOf(step, chosen) < (1 - kBetterBy) * oracle.MeanOf(step, before);
  score->switches_needless += better ? 0 : 1;
}

}  // namespace

Oracle::Oracle(const Trace& trace) {
  const size_t alternatives = trace.alternatives.size();
  std::map<std::pair<uint32_t, uint32_t>, uint32_t> cells;
  std::vector<double> counts;
  for (size_t step = 0; step < trace.steps.size(); ++step) {
    const std::pair<uint32_t, uint32_t> key{trace.steps[step].state, SizeClassOf(trace.steps[step].bytes)};
    const auto [found, fresh] = cells.emplace(key, static_cast<uint32_t>(cells.size()));
    if (fresh) {
      means_.emplace_back(alternatives, 0.0);
      counts.push_back(0);
    }
    cell_.push_back(found->second);
    state_.push_back(trace.steps[step].state);
    ++counts[found->second];
    for (size_t i = 0; i < alternatives; ++i) {
      const bool offered = trace.steps[step].bytes <= trace.alternatives[i].bytes_max;
      means_[found->second][i] +=
          offered ? static_cast<double>(trace.At(step, i).latency_ns) : std::numeric_limits<double>::infinity();
    }
  }
  for (size_t cell = 0; cell < means_.size(); ++cell) {
    for (double& mean : means_[cell]) mean /= counts[cell];
  }
  for (uint32_t cell : cell_) {
    const std::vector<double>& means = means_[cell];
    best_.push_back(static_cast<uint32_t>(std::min_element(means.begin(), means.end()) - means.begin()));
  }
}

bool Oracle::IsGood(size_t step, uint32_t alternative) const {
  return MeanOf(step, alternative) <= kGoodCost * MeanOf(step, best_[step]);
}

bool Oracle::IsChange(size_t step) const {
  return step > 0 && state_[step] != state_[step - 1] && !IsGood(step, best_[step - 1]);
}

bool Oracle::IsVisibleChange(size_t step) const {
  return IsChange(step) && MeanOf(step, best_[step - 1]) >= 2 * MeanOf(step - 1, best_[step - 1]);
}

bool Oracle::IsSilentChange(size_t step) const { return IsChange(step) && !IsVisibleChange(step); }

double Total(const Trace& trace, const Oracle& oracle) {
  double total = 0;
  for (size_t step = 0; step < trace.steps.size(); ++step) {
    total += static_cast<double>(trace.At(step, oracle.Best(step)).latency_ns);
  }
  return total;
}

Score Play(const Trace& trace, const Oracle& oracle, Contestant* contestant) {
  Score score;
  std::vector<bool> good;
  std::vector<int> last(kSizeClasses, -1);
  int64_t now_ns = 0;
  int64_t restore_at_ns[2] = {};
  for (size_t step = 0; step < trace.steps.size(); ++step) {
    const uint64_t bytes = trace.steps[step].bytes;
    const uint16_t up = trace.steps[step].up;
    for (uint32_t rail = 0; rail < 2; ++rail) {
      if ((up >> rail & 1) == 0) {
        restore_at_ns[rail] = now_ns + kReconnectNs;
      } else if (restore_at_ns[rail] != 0 && now_ns >= restore_at_ns[rail]) {
        restore_at_ns[rail] = 0;
        contestant->Restore(rail);
      }
    }
    const bool settled = trace.steps[step].state == trace.settled_state;
    if (settled && trace.steps[step - 1].state != trace.settled_state) score.until_right.push_back(0);
    const Choice choice = contestant->Choose(bytes, now_ns);
    const Outcome& outcome = trace.At(step, choice.alternative);
    now_ns += outcome.latency_ns;
    contestant->Observe(choice, bytes, outcome, now_ns);
    score.total_ns += static_cast<double>(outcome.latency_ns);
    score.failures += outcome.failed ? 1 : 0;
    int& before = last[SizeClassOf(bytes)];
    if (choice.probe) {
      ++score.probes;  // a probe is charged, and says nothing of the choice
      good.push_back(before >= 0 && oracle.IsGood(step, static_cast<uint32_t>(before)));
      continue;
    }
    good.push_back(oracle.IsGood(step, choice.alternative));
    if (before >= 0) CountSwitch(oracle, step, static_cast<uint32_t>(before), choice.alternative, &score);
    before = static_cast<int>(choice.alternative);
    if (settled && choice.alternative != oracle.Best(step)) ++score.until_right.back();
  }
  score.regret = score.total_ns / Total(trace, oracle) - 1;
  for (size_t step = kWarmUp / 2; step + kReactionMax + kReactionWindow <= trace.steps.size(); ++step) {
    const bool visible = oracle.IsVisibleChange(step);
    if (!visible && !oracle.IsSilentChange(step)) continue;
    uint32_t reaction = 0;
    for (; reaction < kReactionMax; ++reaction) {
      const auto begin = good.begin() + static_cast<ptrdiff_t>(step + reaction);
      if (*begin && std::count(begin, begin + kReactionWindow, true) >= kReactionGood) break;
    }
    (visible ? score.reactions_visible : score.reactions_silent).push_back(reaction);
  }
  return score;
}

uint32_t Percentile(std::vector<uint32_t> values, uint32_t percent) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1, values.size() * percent / 100)];
}

}  // namespace mcp::internal
