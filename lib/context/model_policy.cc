// The default policy: the alternative with the lowest expected latency, as far as that is known.
//
// Not knowing is handled twice. An alternative that *could* be cheaper, by its standard error (which grows while it is
// not used), is probed by single transfers, within a budget: optimism under uncertainty, as in upper confidence bounds
// (Auer et al. 2002; with forgetting: Garivier and Moulines 2011). A change of mind needs more: the difference must be
// several standard errors and a margin. After an alarm both thresholds are lower for a while, since what was known may
// be wrong: all that could be cheaper is sampled in turn, then what looks best is kept. The alarm itself changes
// nothing.
#include <algorithm>
#include <cmath>

#include "lib/context/log2.h"
#include "lib/context/policies.h"

namespace mcp::internal {
namespace {

struct Thresholds {
  float margin;    // log2 of the ratio of costs
  float errors;    // standard errors
  uint32_t dwell;  // transfers since the last switch
  float samples;   // of what is switched to
};
constexpr Thresholds kSettled{0.04f, 3.5f, 16, 1.2f};
constexpr Thresholds kUnsettled{0.05f, 1.5f, 3, 1.0f};  // errors: of one sample
constexpr float kUnsettledErrorsMin = 0.5f;
constexpr float kAFew = 4;  // samples, from which on a change of mind is of some consequence
constexpr uint32_t kUnsettledDwellOfAFew = 8;
constexpr float kOften = 7;             // samples: no more is learned in haste
constexpr float kWorthwhile = 0.0144f;  // log2 of the least gain that a change of mind is for: 1 %
constexpr float kReach = 16;        // a bound that is wider by more takes some hundred times the probes that there were
constexpr float kAgreement = 0.1f;  // log2
constexpr float kAgreementErrors = 2.0f;
constexpr float kOptimism = 2.0f;        // standard errors
constexpr uint32_t kPauseUnsettled = 2;  // transfers between probes
constexpr uint32_t kPauseSettled = 16;
constexpr uint32_t kRefreshEvery = 4;  // transfers, of the current choice between probes that promise
constexpr float kWorthTrying = 0.05f;  // log2 of the gain that optimism must promise
constexpr float kClearly = 0.1f;       // log2 of a gain that chance seldom feigns
constexpr float kClearSamples = 16;
constexpr float kDeadlineSamplesMin = 2.0f;
constexpr float kLossCost = 0.6f;   // log2 of what bulk costs beyond others once a transfer loses something
constexpr float kLossSamples = 16;  // that this counts as, after losses have begun

bool Known(const Prediction& prediction) { return prediction.eligible && prediction.samples > 0; }

int Cheapest(absl::Span<const Prediction> predictions) {
  int best = -1;
  for (size_t i = 0; i < predictions.size(); ++i) {
    if (!Known(predictions[i])) continue;
    if (best < 0 || predictions[i].log2_cost < predictions[static_cast<size_t>(best)].log2_cost) {
      best = static_cast<int>(i);
    }
  }
  return best;
}

// Null deadline: everything meets it.
bool Meets(const Prediction& prediction, float log2_deadline) { return prediction.log2_p99 <= log2_deadline; }

// After a change, to go on comparing costs as much as to err. So the more samples there are of both, the fewer standard
// errors do, down to where one is merely likelier to be cheaper. Otherwise nothing calls for a change of mind, and it
// has to be beyond doubt.
Thresholds Needed(const Situation& situation, const Prediction& current, const Prediction& other) {
  if (!situation.unsettled) return kSettled;
  const float samples = std::min(current.samples, other.samples);
  Thresholds needed = kUnsettled;
  needed.errors = std::max(kUnsettledErrorsMin, needed.errors / std::sqrt(samples));
  if (samples >= kAFew) needed.dwell = kUnsettledDwellOfAFew;
  return needed;
}

// log2 of how much dearer the current choice is expected to be. Where packets are lost bulk repeats all that is behind
// them; and times become so uneven that it takes a hundred samples to see by how much. Until then it is taken for
// granted, by so much as was seen where losses were measured and simulated.
float Lead(const Situation& situation, const Prediction& current, const Prediction& other) {
  const float lead = current.log2_cost - other.log2_cost;
  const bool from_bulk = current.alternative.protocol == Protocol::kBulk;
  const bool to_bulk = other.alternative.protocol == Protocol::kBulk;
  if (!situation.losses_began || from_bulk == to_bulk) return lead;
  const float losses = std::min(1.0f, std::max(current.retransmits, other.retransmits));
  const float cost = kLossCost * losses * kLossSamples / (kLossSamples + std::min(current.samples, other.samples));
  return from_bulk ? lead + cost : lead - cost;
}

// Long comparison tells what estimates cannot: these remember some hundred samples. What it has shown is that the other
// is cheaper, and by something; or that it is not, or by nothing; or that going on would not tell in any useful time,
// since long tails make the bound wide. Unless estimates say that it is of what is no more.
enum class Compared { kNot, kBetter, kWorse, kUndecided, kBeyondReach };
Compared Compare(float lead, float error, const Prediction& other) {
  if (other.log2_gain_radius <= 0) return Compared::kNot;
  const float away = std::abs(lead - other.log2_gain);
  if (away > kAgreement + kAgreementErrors * error) return Compared::kNot;
  if (other.log2_gain > std::max(kWorthwhile, other.log2_gain_radius)) return Compared::kBetter;
  if (other.log2_gain + other.log2_gain_radius < kWorthwhile) return Compared::kWorse;
  const float reach = kReach * std::max(kWorthwhile, other.log2_gain);
  return other.log2_gain_radius > reach ? Compared::kBeyondReach : Compared::kUndecided;
}
float Error(const Prediction& one, const Prediction& other) {
  return std::sqrt(one.log2_error * one.log2_error + other.log2_error * other.log2_error);
}

// The best that is cheaper than the current choice by enough; -1: none.
int Faster(const Situation& situation, float log2_deadline) {
  const Prediction& current = situation.predictions[static_cast<size_t>(situation.current)];
  if (current.samples <= 0) return -1;
  const bool meets = Meets(current, log2_deadline);
  int best = -1;
  float best_lead = 0;
  for (const Prediction& other : situation.predictions) {
    if (!Known(other)) continue;
    float lead = Lead(situation, current, other);
    const float error = Error(current, other);
    const Compared compared = Compare(lead, error, other);
    const bool proven = compared == Compared::kBetter;
    if (proven) lead = other.log2_gain;
    if (lead <= best_lead || compared == Compared::kWorse) continue;
    if (meets && !Meets(other, log2_deadline)) continue;
    const Thresholds thresholds = Needed(situation, current, other);
    if (situation.transfers_since_switch < thresholds.dwell || other.samples < thresholds.samples) continue;
    if (!proven && lead < thresholds.margin + thresholds.errors * error) continue;
    best = static_cast<int>(&other - situation.predictions.data());
    best_lead = lead;
  }
  return best;
}

// The likeliest to meet a deadline that the current choice misses; -1: none is better.
int Likelier(const Situation& situation, float log2_deadline) {
  const Prediction& current = situation.predictions[static_cast<size_t>(situation.current)];
  if (current.samples <= 0 || Meets(current, log2_deadline)) return -1;
  int best = -1;
  float best_p99 = current.log2_p99 - kSettled.margin;
  for (size_t i = 0; i < situation.predictions.size(); ++i) {
    const Prediction& other = situation.predictions[i];
    if (!Known(other) || other.samples < kDeadlineSamplesMin || other.log2_p99 >= best_p99) continue;
    best = static_cast<int>(i);
    best_p99 = other.log2_p99;
  }
  return best;
}

// What one transfer should try: unknown alternatives first, then the one that could be the cheapest.
int Probe(const Situation& situation, int chosen) {
  if (!situation.probe_allowed) return -1;
  const Prediction& current = situation.predictions[static_cast<size_t>(chosen)];
  if (current.samples <= 0) return -1;
  // The current choice is sampled in between: two that are compared must both be fresh. Against what is expected to be
  // clearly cheaper it need not be every other transfer: where samples are noisy, deciding takes long.
  const bool pausing = situation.transfers_since_probe < kPauseUnsettled;
  if (pausing && situation.transfers_since_switch % kRefreshEvery == 0) return -1;
  int best = -1;
  float best_lead = 0;
  bool best_promises = false;
  for (const Prediction& other : situation.predictions) {
    const auto i = static_cast<int>(&other - situation.predictions.data());
    if (!other.eligible || i == chosen) continue;
    if (other.samples <= 0) {
      if (!pausing) return i;
      continue;
    }
    // What is expected to be cheaper costs nothing to try: at once, and before what merely could be.
    float lead = Lead(situation, current, other);
    const Compared compared = Compare(lead, Error(current, other), other);
    const bool open = compared != Compared::kWorse && compared != Compared::kBeyondReach;
    const bool undecided = open && compared != Compared::kNot && other.log2_gain > 0;
    const bool promises = undecided || (open && lead > kWorthTrying);
    if (undecided) lead = std::max(lead, other.log2_gain);
    if (best_promises && !promises) continue;
    const bool clearly = other.samples >= kClearSamples && lead > kClearly;
    if (pausing && !clearly && !undecided) continue;
    const bool in_haste = situation.unsettled && other.samples < kOften;
    const uint32_t pause = in_haste ? kPauseUnsettled : kPauseSettled;
    if (!promises && situation.transfers_since_probe < pause) continue;
    const float hoped = promises ? lead : lead + kOptimism * other.log2_error;
    if (promises == best_promises && hoped <= (promises ? best_lead : std::max(best_lead, kWorthTrying))) continue;
    const double excess = Exp2(current.log2_cost) * (Exp2(-lead) - 1);
    if (excess > 1 && static_cast<float>(Log2(excess)) > situation.log2_probe_budget) continue;
    best = i;
    best_lead = hoped;
    best_promises = promises;
  }
  return best;
}

}  // namespace

Verdict ModelPolicy::Decide(const Situation& situation) const {
  const absl::Span<const Prediction> predictions = situation.predictions;
  const int64_t deadline_ns = situation.training.deadline.count();
  const float log2_deadline = deadline_ns <= 0 ? 1e9f : static_cast<float>(Log2(static_cast<double>(deadline_ns)));
  Verdict verdict;
  verdict.chosen = situation.current;
  if (situation.current < 0 || !predictions[static_cast<size_t>(situation.current)].eligible) {
    const int cheapest = Cheapest(predictions);
    verdict.chosen = cheapest >= 0 ? cheapest : FirstEligible(predictions);
    verdict.reason = situation.current < 0 ? Reason::kStart : Reason::kUnavailable;
  } else if (const int likelier = Likelier(situation, log2_deadline); likelier >= 0) {
    verdict.chosen = likelier;
    verdict.reason = Reason::kDeadline;
  } else if (const int faster = Faster(situation, log2_deadline); faster >= 0) {
    verdict.chosen = faster;
    verdict.reason = Reason::kFaster;
  }
  verdict.probe = Probe(situation, verdict.chosen);
  return verdict;
}

}  // namespace mcp::internal
