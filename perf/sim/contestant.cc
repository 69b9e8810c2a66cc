#include "perf/sim/contestant.h"

#include <algorithm>

namespace mcp::internal {

Adaptive::Adaptive(const std::string& policy, const std::vector<Alternative>& alternatives, size_t decisions_kept)
    : decisions_(decisions_kept) {
  PolicyOptions options;
  options.policy = policy;
  policy_ = MakePolicy(options).value();
  advisor_ = std::make_unique<Advisor>(AdvisorOptions(), policy_.get(), &decisions_);
  peer_ = advisor_->AddPeer(alternatives).value();
}

Choice Adaptive::Choose(uint64_t bytes, int64_t now_ns) {
  const Advice advice = advisor_->Advise(peer_, bytes, now_ns);
  return {advice.alternative, advice.probe};
}

void Adaptive::Observe(const Choice& choice, uint64_t bytes, const Outcome& outcome, int64_t now_ns) {
  const Sample sample{.peer = peer_,
                      .alternative = static_cast<uint8_t>(choice.alternative),
                      .probe = choice.probe,
                      .bytes = bytes,
                      .latency_ns = outcome.latency_ns,
                      .retransmits = outcome.retransmits};
  if (outcome.failed) {
    advisor_->ObserveFailure(sample, now_ns);
  } else {
    advisor_->Observe(sample, now_ns);
  }
}

Thresholds::Thresholds(const std::vector<Alternative>& alternatives) {
  for (uint32_t i = 0; i < alternatives.size(); ++i) {
    if (alternatives[i].protocol == Protocol::kEager) eager_ = i;
  }
}

Choice LastSample::Choose(uint64_t bytes, int64_t) {
  const std::vector<double>& averages = averages_[SizeClassOf(bytes)];
  uint32_t best = 0;
  for (uint32_t i = 0; i < averages.size(); ++i) {
    if (bytes > alternatives_[i].bytes_max) continue;
    if (averages[i] < averages[best]) best = i;
  }
  return {best, false};
}

void LastSample::Observe(const Choice& choice, uint64_t bytes, const Outcome& outcome, int64_t) {
  double& average = averages_[SizeClassOf(bytes)][choice.alternative];
  average = 0.01 * average + 0.99 * static_cast<double>(outcome.latency_ns) / static_cast<double>(bytes);
}

}  // namespace mcp::internal
