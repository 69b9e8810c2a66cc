// What is in use, held against its rivals for as long as nothing changes: what estimates remember is too short for
// alternatives that are a few percent apart.
#include <algorithm>
#include <cmath>

#include "lib/context/advisor_peer.h"
#include "lib/context/log2.h"

namespace mcp::internal {
namespace {

constexpr float kLog2E = 1.442695f;
constexpr uint32_t kComparedMax = 1 << 20;  // samples of what is in use; then all count half
constexpr float kVarianceSamples = 128;     // which what the variance is taken for counts as
constexpr float kWithinReach = 0.25f;       // log2 of a cost: what is dearer by more needs no comparison

}  // namespace

// A probe's sample, before it teaches anything.
void Advisor::Compare(const Sample& sample, uint32_t size_class, KeyState* key) {
  Peer& peer = *peers_[sample.peer];
  Cell& cell = CellOf(sample.peer, sample.bytes);
  if (peer.unsettled > 0 || cell.choice == kNone || cell.choice == sample.alternative) return;
  Key* const current = peer.keys[cell.choice][size_class];
  if (current == nullptr) return;
  const double expected = peer.known[cell.choice].estimator.UsualNs(sample.bytes, &current->state);
  const auto ratio = static_cast<float>(static_cast<double>(std::max<int64_t>(1, sample.latency_ns)) / expected);
  key->comparison.Add(Smaller(ratio, Estimator::kRatioMax));
  const uint32_t compared = cell.samples - cell.compared_from;
  if (compared < kComparedMax) return;
  cell.compared_from += compared / 2;
  current->state.beyond *= 0.5f;
}

void Advisor::CompareAnew(uint32_t peer_index, uint32_t size_class) {
  for (auto& keys : peers_[peer_index]->keys) {
    if (keys[size_class] == nullptr) continue;
    keys[size_class]->state.beyond = 0;
    keys[size_class]->state.comparison = Comparison();
  }
  Cell& cell = cells_[size_t{peer_index} * kSizeClasses + size_class];
  cell.compared_from = cell.samples;
}

// The mean of what is in use is taken over the same time, against the same predictions: where these are off, both are.
Gain Advisor::GainOf(const Peer& peer, const Cell& cell, uint32_t size_class, uint32_t alternative) const {
  const Key* const key = peer.keys[alternative][size_class];
  const Key* const current_key = peer.keys[cell.choice][size_class];
  if (key == nullptr || current_key == nullptr || !key->state.comparison.tells()) return {};
  const Comparison& comparison = key->state.comparison;
  const float used = std::max(1.0f, static_cast<float>(cell.samples - cell.compared_from) - comparison.samples());
  const float current_mean = std::max(0.5f, 1.0f + current_key->state.beyond / used);
  const CostTerms<float> rival = peer.known[alternative].estimator.TermsOfCost(0, nullptr);
  const CostTerms<float> current = peer.known[cell.choice].estimator.TermsOfCost(0, nullptr);
  const float with_tails = current.TailFactor(peer.tail) / rival.TailFactor(peer.tail);
  // What is rare, and makes most of the variance, a few probes have not seen: as far as that goes it is taken from what
  // is in use.
  const float usual = peer.known[cell.choice].estimator.LongVariance() / (current_mean * current_mean);
  const float seen = comparison.variance() / (comparison.mean() * comparison.mean());
  const float own = comparison.samples() / (comparison.samples() + kVarianceSamples);
  const float variance = (usual + own * (seen - usual)) / comparison.samples() + usual / used +
                         current.TailVariance(peer.tail) + rival.TailVariance(peer.tail) +
                         (with_tails - 1) * (with_tails - 1);  // one transfer of fifty times the usual makes 4 %
  return {.gain = static_cast<float>(Log2(static_cast<double>(with_tails * current_mean / comparison.mean()))),
          .radius = kLog2E * std::sqrt(variance * comparison.ErrorsSquared())};
}

void Advisor::PredictGains(const Peer& peer, const Cell& cell, uint64_t bytes, Prediction* predictions) const {
  // Beyond a rate changes are not followed, and averages of now are no averages of then.
  if (cell.choice == kNone || peer.unsettled > 0 || peer.changes_followed < 1) return;
  const uint32_t size_class = SizeClassOf(bytes);
  const float within = predictions[cell.choice].log2_cost + kWithinReach;
  for (uint32_t i = 0; i < peer.alternative_count; ++i) {
    if (i == cell.choice || predictions[i].log2_cost > within) continue;
    const Gain gain = GainOf(peer, cell, size_class, i);
    predictions[i].log2_gain = gain.gain;
    predictions[i].log2_gain_radius = gain.radius;
  }
}

}  // namespace mcp::internal
