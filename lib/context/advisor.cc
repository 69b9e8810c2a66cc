#include "lib/context/advisor.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "lib/context/advisor_peer.h"
#include "lib/context/log2.h"

namespace mcp::internal {
namespace {

constexpr uint32_t kDecideEvery = 32;                                    // samples of a size class, when nothing is new
constexpr int64_t kUntilRestored = std::numeric_limits<int64_t>::max();  // the end of a quarantine without one
constexpr uint32_t kProbeLostAfter = 512;  // transfers: its sample is not waited for any longer
constexpr float kNever = -1e9f;
constexpr uint32_t kLasting = 1000;  // transfers
constexpr float kUnnoticed = 0.5f;   // of a change

}  // namespace

Advisor::Advisor(const AdvisorOptions& options, const Policy* policy, DecisionTrace* trace)
    : options_(options), policy_(policy), trace_(trace), keys_(std::max(options.keys_max, 1u)) {}

Advisor::~Advisor() = default;

absl::StatusOr<uint32_t> Advisor::AddPeer(absl::Span<const Alternative> alternatives) {
  if (alternatives.empty() || alternatives.size() > kAlternativesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("context: ", alternatives.size(), " alternatives: expected 1 to ", kAlternativesMax));
  }
  size_t index = 0;
  while (index < peers_.size() && peers_[index] != nullptr) ++index;
  if (index >= options_.peers_max) {
    return absl::ResourceExhaustedError(absl::StrCat("context: ", options_.peers_max, " peers are known already"));
  }
  if (index == peers_.size()) {
    peers_.emplace_back();
    cells_.resize(cells_.size() + kSizeClasses);
  }
  peers_[index] = std::make_unique<Peer>();
  Peer& peer = *peers_[index];
  peer.alternative_count = static_cast<uint32_t>(alternatives.size());
  std::copy(alternatives.begin(), alternatives.end(), peer.alternatives);
  std::fill_n(cells_.begin() + static_cast<ptrdiff_t>(index * kSizeClasses), kSizeClasses, Cell());
  return static_cast<uint32_t>(index);
}

void Advisor::RemovePeer(uint32_t peer) {
  for (auto& keys : peers_[peer]->keys) {
    for (Key* key : keys) {
      if (key != nullptr) keys_.Remove(key);
    }
  }
  peers_[peer].reset();
}

void Advisor::SetTraining(const TrainingContext& training) {
  if (training.phase != training_.phase || training.deadline != training_.deadline) ++epoch_;
  training_ = training;
}

void Advisor::Seed(uint32_t peer, uint8_t alternative, double base_ns, double ns_per_byte, double samples) {
  peers_[peer]->known[alternative].estimator.Seed(base_ns, ns_per_byte, samples);
}

const Estimator& Advisor::EstimatorOf(uint32_t peer, uint8_t alternative) const {
  return peers_[peer]->known[alternative].estimator;
}

Advice Advisor::AdviseSlowly(uint32_t peer_index, uint64_t bytes, int64_t now_ns) {
  Peer& peer = *peers_[peer_index];
  Cell& cell = CellOf(peer_index, bytes);
  if (cell.epoch != epoch_) {
    Decide(peer_index, bytes, cell.epoch == 0 ? Cause::kFirst : Cause::kTraining, now_ns);
  } else if (bytes > cell.bytes_max) {
    Decide(peer_index, bytes, Cause::kSize, now_ns);
  }
  const uint8_t probe = cell.probe;
  if (probe == kNone || bytes > peer.alternatives[probe].bytes_max || peer.probe_out) return {cell.choice, false};
  cell.probe = kNone;
  peer.probe_out = true;
  peer.last_probe = peer.transfers;
  ++probes_;
  return {probe, true};
}

void Advisor::LoseRail(uint32_t peer_index, uint32_t rail, int64_t now_ns) {
  Peer& peer = *peers_[peer_index];
  CatchUp(peer_index);
  const auto bit = static_cast<uint16_t>(1u << rail);
  peer.quarantined |= bit;
  peer.quarantine_until_ns[rail] = kUntilRestored;
  Unsettle(peer, bit, -1);
  DecideAll(peer_index, bit, Cause::kQuarantine, now_ns);
}

void Advisor::RestoreRail(uint32_t peer_index, uint32_t rail) {
  Peer& peer = *peers_[peer_index];
  CatchUp(peer_index);
  const auto bit = static_cast<uint16_t>(1u << rail);
  peer.quarantine_ns[rail] = 0;
  if ((peer.quarantined & bit) == 0) return;
  peer.quarantined &= static_cast<uint16_t>(~bit);
  Unsettle(peer, bit, -1);
}

void Advisor::AbandonProbe(uint32_t peer) { peers_[peer]->probe_out = false; }

void Advisor::ObserveFailure(const Sample& sample, int64_t now_ns) {
  Peer& peer = *peers_[sample.peer];
  CatchUp(sample.peer);
  if (sample.probe) peer.probe_out = false;
  Estimator& estimator = peer.known[sample.alternative].estimator;
  estimator.AddFailure();
  const uint16_t rails = peer.alternatives[sample.alternative].rails;
  if (!peer.CanAvoid(rails)) {
    const auto waited = static_cast<double>(sample.latency_ns);
    if (estimator.known() && waited > estimator.UsualNs(sample.bytes, nullptr)) Observe(sample, now_ns);
    return;
  }
  ++peer.transfers;
  peer.unsettled = kUnsettledTransfers;
  for (uint32_t rail = 0; rail < kRails; ++rail) {
    if ((rails >> rail & 1) == 0 || peer.quarantine_until_ns[rail] == kUntilRestored) continue;
    int64_t& length = peer.quarantine_ns[rail];
    length = length == 0 ? options_.quarantine_ns_min : std::min(2 * length, options_.quarantine_ns_max);
    peer.quarantine_until_ns[rail] = now_ns + length;
  }
  peer.quarantined |= rails;
  // Every size leaves these rails; the size that failed now, the others with their next transfer.
  for (uint32_t i = 0; i < kSizeClasses; ++i) {
    Cell& cell = cells_[size_t{sample.peer} * kSizeClasses + i];
    if (cell.choice != kNone && (peer.alternatives[cell.choice].rails & rails) != 0) cell.bytes_max = 0;
    cell.probe = kNone;
  }
  Decide(sample.peer, sample.bytes, Cause::kQuarantine, now_ns);
}

// Anew for every size whose choice uses one of these rails.
void Advisor::DecideAll(uint32_t peer_index, uint16_t rails, Cause cause, int64_t now_ns) {
  for (uint32_t i = 0; i < kSizeClasses; ++i) {
    const Cell& cell = cells_[size_t{peer_index} * kSizeClasses + i];
    if (cell.choice == kNone || (peers_[peer_index]->alternatives[cell.choice].rails & rails) == 0) continue;
    Decide(peer_index, SizeClassBytesMax(i), cause, now_ns);
  }
}

void Advisor::LiftQuarantines(Peer& peer, int64_t now_ns) {
  uint16_t lifted = 0;
  for (uint32_t rail = 0; rail < kRails; ++rail) {
    const auto bit = static_cast<uint16_t>(1u << rail);
    if ((peer.quarantined & bit) != 0 && now_ns >= peer.quarantine_until_ns[rail]) lifted |= bit;
  }
  if (lifted == 0) return;
  peer.quarantined &= static_cast<uint16_t>(~lifted);
  Unsettle(peer, lifted, -1);
}

void Advisor::Predict(const Peer& peer, uint64_t bytes, Prediction* predictions) const {
  for (uint32_t i = 0; i < peer.alternative_count; i += 4) PredictFour(peer, bytes, i, predictions);
  for (uint32_t i = 0; i < peer.alternative_count; ++i) {
    if (predictions[i].eligible) return;
  }
  // All rails are in quarantine: better a bad one than none.
  for (uint32_t i = 0; i < peer.alternative_count; ++i) {
    predictions[i].eligible = bytes <= peer.alternatives[i].bytes_max;
  }
}

void Advisor::PredictFour(const Peer& peer, uint64_t bytes, uint32_t first, Prediction* predictions) const {
  const uint32_t size_class = SizeClassOf(bytes);
  const uint32_t end = std::min(first + 4, peer.alternative_count);
  CostTerms<Float4> terms{};
  terms.inverse_factor = Float4{} + 1.0f;  // lanes without an alternative divide as well
  for (uint32_t i = first; i < end; ++i) {
    const Alternative& alternative = peer.alternatives[i];
    const bool eligible = bytes <= alternative.bytes_max && (alternative.rails & peer.quarantined) == 0;
    predictions[i] = {.alternative = alternative, .eligible = eligible};
    const Estimator& estimator = peer.known[i].estimator;
    if (!estimator.known()) continue;
    const Key* const key = peer.keys[i][size_class];
    CostTerms<float> own = estimator.Terms(bytes, key == nullptr ? nullptr : &key->state);
    own.doubt += peer.AgeVariance(i);
    SetLane(i - first, own, &terms);
  }
  const Float4 log2_costs = Log2(Larger(terms.Ns(peer.tail), Float4{} + 1.0f));
  const Float4 squares = terms.Log2ErrorSquared(peer.tail);
  // Without a deadline nobody asks for the tail of each size class.
  const bool by_class = training_.deadline.count() > 0;
  for (uint32_t i = first; i < end; ++i) {
    const Estimator& estimator = peer.known[i].estimator;
    if (!estimator.known()) continue;
    Prediction& prediction = predictions[i];
    const Key* const key = by_class ? peer.keys[i][size_class] : nullptr;
    prediction.samples = static_cast<float>(estimator.samples());
    prediction.log2_cost = log2_costs[i - first];
    prediction.log2_error = std::sqrt(squares[i - first]);
    prediction.log2_p99 =
        prediction.log2_cost + (key == nullptr ? estimator.Log2P99OverCost() : estimator.Log2P99OverCost(key->state));
    prediction.reliability = estimator.reliability();
    prediction.retransmits = estimator.retransmits();
    const auto ns_per_byte = static_cast<float>(estimator.ns_per_byte());
    prediction.bytes_per_ns = ns_per_byte <= 0 ? 0.0f : 1.0f / ns_per_byte;
  }
}

std::vector<Prediction> Advisor::Predictions(uint32_t peer, uint64_t bytes) const {
  std::vector<Prediction> predictions(kAlternativesMax);
  Predict(*peers_[peer], bytes, predictions.data());
  PredictGains(*peers_[peer], cells_[size_t{peer} * kSizeClasses + SizeClassOf(bytes)], bytes, predictions.data());
  predictions.resize(peers_[peer]->alternative_count);
  return predictions;
}

void Advisor::DecideDue(uint32_t peer_index, Cause cause, int64_t now_ns) {
  for (uint32_t due = peers_[peer_index]->decisions_due; due != 0; due &= due - 1) {
    const Cell& cell = cells_[size_t{peer_index} * kSizeClasses + static_cast<uint32_t>(std::countr_zero(due))];
    Decide(peer_index, cell.bytes, cause, now_ns);
  }
}

// What was in use for long is left for what is faster, without an alarm: the one has moved slowly, or the other unseen.
// All sizes that follow tell of the same.
void Advisor::CountUnnoticed(Peer& peer) {
  if (peer.changes.quiet() >= kLasting) peer.changes.Count(kUnnoticed);
}

void Advisor::Decide(uint32_t peer_index, uint64_t bytes, Cause cause, int64_t now_ns) {
  Peer& peer = *peers_[peer_index];
  Cell& cell = CellOf(peer_index, bytes);
  if (peer.probe_out && peer.transfers - peer.last_probe > kProbeLostAfter) peer.probe_out = false;
  DecisionEvent* event = trace_ == nullptr ? nullptr : trace_->Next();
  Prediction* const predictions = event == nullptr ? predictions_ : event->predictions;
  Predict(peer, bytes, predictions);
  PredictGains(peer, cell, bytes, predictions);

  Situation situation;
  situation.bytes = bytes;
  situation.training = training_;
  situation.predictions = absl::MakeConstSpan(predictions, peer.alternative_count);
  situation.current = cell.choice == kNone ? -1 : cell.choice;
  situation.transfers_since_switch = cell.samples - cell.switched_at;
  situation.unsettled = peer.unsettled > 0;
  situation.losses_began = peer.unsettled > 0 && peer.losses_began;
  situation.transfers_since_probe = static_cast<uint32_t>(peer.transfers - peer.last_probe);
  situation.probe_allowed = !peer.probe_out;
  situation.log2_probe_budget =
      peer.probe_budget_ns < 1 ? kNever : Log2Coarse(static_cast<float>(peer.probe_budget_ns));
  Verdict verdict = policy_->Decide(situation);
  // A user's policy may err; the default must not follow it off the table.
  if (verdict.chosen < 0 || verdict.chosen >= static_cast<int>(peer.alternative_count)) verdict.chosen = 0;

  if (event != nullptr) {
    event->now_ns = now_ns;
    event->peer = peer_index;
    event->bytes = bytes;
    event->training = training_;
    event->cause = cause;
    event->reason = verdict.reason;
    event->before = static_cast<int8_t>(situation.current);
    event->chosen = static_cast<int8_t>(verdict.chosen);
    event->probe = static_cast<int8_t>(verdict.probe);
    event->prediction_count = static_cast<uint8_t>(peer.alternative_count);
  }
  const auto chosen = static_cast<uint8_t>(verdict.chosen);
  if (cell.choice != chosen) {
    if (cell.choice != kNone) {
      ++switches_;
      if (verdict.reason == Reason::kFaster && cell.samples - cell.switched_at >= kLasting) CountUnnoticed(peer);
    }
    cell.choice = chosen;
    cell.switched_at = cell.samples;
    CompareAnew(peer_index, SizeClassOf(bytes));
  }
  const bool probes = verdict.probe >= 0 && verdict.probe < static_cast<int>(peer.alternative_count);
  cell.probe = probes ? static_cast<uint8_t>(verdict.probe) : kNone;
  cell.bytes_max = peer.alternatives[chosen].bytes_max;
  cell.epoch = epoch_;
  cell.decide_at = cell.samples + kDecideEvery;
  cell.in_haste = false;
  peer.decisions_due &= ~(1u << SizeClassOf(bytes));
}

}  // namespace mcp::internal
