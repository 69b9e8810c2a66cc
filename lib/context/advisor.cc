#include "lib/context/advisor.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "lib/context/log2.h"

namespace mcp::internal {
namespace {

constexpr uint32_t kDecideEvery = 32;         // samples of a size class, when nothing is new
constexpr uint32_t kTickEvery = 32;           // transfers
constexpr uint16_t kDecideAfterProbe = 2;     // what it found may be worth a second look
constexpr uint32_t kUnsettledTransfers = 40;  // after a change, decisions follow every sample
constexpr int64_t kUntilRestored = std::numeric_limits<int64_t>::max();  // the end of a quarantine without one
constexpr uint32_t kProbeLostAfter = 512;   // transfers: its sample is not waited for any longer
constexpr float kDoubtOfNeighbours = 1.0f;  // variance of log2 of the cost, after a change on the same rail
// By how much log2 of an unused alternative's cost may have wandered: variance a transfer. The least, and what is added
// for each change that was seen a transfer (a fourfold change has a variance of 4).
constexpr float kDriftMin = 1.0f / 64000;
constexpr float kDriftPerChange = 1.5f;
constexpr float kChangesAtFirst = 1.0f / 2000;  // a transfer: nothing is known of a new path
constexpr float kChangesGain = 1.0f / 4000;
// Changes are followed up to a rate: beyond, learning anew costs more than it gains.
constexpr float kFollowRate = 1.0f / 150;  // a transfer
constexpr float kFollowMax = 4;
constexpr uint64_t kInUse = 2;    // transfers since the last, probes aside
constexpr uint64_t kAgeMin = 16;  // transfers; younger is taken for fresh
constexpr float kTailGain = 1.0f / 1024;
// The first transfers of a path meet cold caches and congestion windows that are still small: whatever came first then
// looks slow. After so many, on a tick, all is looked at once more.
constexpr uint64_t kPathWarm = 32;
// A probe that finds this much less is news: log2, and standard errors of what was expected. What was measured seldom,
// or where latencies are uneven, is often far off.
constexpr float kSurprise = 0.8f;
constexpr float kSurpriseErrors = 2.0f;
constexpr float kAgeVarianceMax = 4.0f;
constexpr double kBudgetTransfers = 24;  // of the current cost: more is not saved up
constexpr float kNever = -1e9f;

}  // namespace

struct Advisor::Peer {
  uint32_t alternative_count = 0;
  Alternative alternatives[kAlternativesMax];
  Estimator estimators[kAlternativesMax];
  uint64_t last_sample[kAlternativesMax] = {};  // in transfers
  uint64_t last_use[kAlternativesMax] = {};     // the same, probes aside

  // For another size, perhaps: it sees for itself what happens on the path.
  bool InUse(uint32_t alternative) const {
    return last_use[alternative] != 0 && transfers - last_use[alternative] <= kInUse;
  }

  // By how much log2 of the alternative's cost may have wandered since it was last used.
  float AgeVariance(uint32_t alternative) const {
    const uint64_t age = transfers - last_sample[alternative];
    if (age <= kAgeMin) return 0;
    return std::min(kAgeVarianceMax, (kDriftMin + kDriftPerChange * changes) * static_cast<float>(age - kAgeMin));
  }

  uint32_t keys[kAlternativesMax][kSizeClasses];
  uint64_t transfers = 0;
  uint32_t unsettled = kUnsettledTransfers;
  bool looked_again = false;
  bool probe_out = false;
  uint64_t last_probe = 0;
  double probe_budget_ns = 0;
  int64_t spent_ns = 0;  // in transfers since the last tick
  float tails = 0;       // cut off since the last tick
  float tail_squares = 0;
  float changes = kChangesAtFirst;      // a transfer, lately
  float changes_followed = kFollowMax;  // how many may be, now
  UsualTail tail;
  uint16_t quarantined = 0;  // rails
  int64_t quarantine_until_ns[kRails] = {};
  int64_t quarantine_ns[kRails] = {};
};

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
  for (auto& keys : peer.keys) std::fill(std::begin(keys), std::end(keys), kNoKey);
  std::fill_n(cells_.begin() + static_cast<ptrdiff_t>(index * kSizeClasses), kSizeClasses, Cell());
  return static_cast<uint32_t>(index);
}

void Advisor::RemovePeer(uint32_t peer) {
  for (auto& keys : peers_[peer]->keys) {
    for (uint32_t key : keys) {
      if (key != kNoKey) keys_.Remove(key);
    }
  }
  peers_[peer].reset();
}

void Advisor::SetTraining(const TrainingContext& training) {
  if (training.phase != training_.phase || training.deadline != training_.deadline) ++epoch_;
  training_ = training;
}

void Advisor::Seed(uint32_t peer, uint8_t alternative, double base_ns, double ns_per_byte, double samples) {
  peers_[peer]->estimators[alternative].Seed(base_ns, ns_per_byte, samples);
}

const Estimator& Advisor::EstimatorOf(uint32_t peer, uint8_t alternative) const {
  return peers_[peer]->estimators[alternative];
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

uint32_t Advisor::MakeKey(Peer& peer, const Sample& sample, uint32_t size_class) {
  Key evicted;
  const uint32_t index = keys_.Insert(sample.peer, sample.alternative, static_cast<uint8_t>(size_class), &evicted);
  if (evicted.in_use) peers_[evicted.peer]->keys[evicted.alternative][evicted.size_class] = kNoKey;
  peer.keys[sample.alternative][size_class] = index;
  return index;
}

void Advisor::Observe(const Sample& sample, int64_t now_ns) {
  Peer& peer = *peers_[sample.peer];
  MCP_ASSERT(sample.alternative < peer.alternative_count);
  const uint32_t size_class = SizeClassOf(sample.bytes);
  uint32_t index = peer.keys[sample.alternative][size_class];
  if (ABSL_PREDICT_FALSE(index == kNoKey)) index = MakeKey(peer, sample, size_class);
  Key& key = keys_.At(index);
  key.used_lately = true;
  if (ABSL_PREDICT_FALSE(sample.probe)) SettleProbe(peer, sample);
  Estimator& estimator = peer.estimators[sample.alternative];
  const float age_variance = peer.AgeVariance(sample.alternative);
  if (ABSL_PREDICT_FALSE(age_variance > 0)) estimator.Age(age_variance);
  const bool restless = peer.changes_followed < 1;
  const Change change = estimator.Add(sample.bytes, sample.latency_ns, sample.retransmits, restless, &key.state);
  peer.last_sample[sample.alternative] = ++peer.transfers;
  if (!sample.probe) peer.last_use[sample.alternative] = peer.transfers;
  peer.spent_ns += sample.latency_ns;
  if (ABSL_PREDICT_FALSE(estimator.last_tail().mean > 0)) {
    peer.tails += estimator.last_tail().mean;
    peer.tail_squares += estimator.last_tail().square;
  }
  if (ABSL_PREDICT_FALSE(peer.transfers % kTickEvery == 0)) {
    Tick(peer, now_ns);
    if (peer.transfers >= kPathWarm && !std::exchange(peer.looked_again, true)) LookAgain(peer, sample);
  }
  if (ABSL_PREDICT_FALSE(change != Change::kNone)) OnChange(peer, sample);
  Cell& cell = cells_[size_t{sample.peer} * kSizeClasses + size_class];
  ++cell.since_switch;
  if (cell.until_decision > 0) --cell.until_decision;
  if (peer.unsettled > 0) {
    --peer.unsettled;
  } else if (cell.until_decision > 0 && !sample.probe) {
    return;
  }
  const Cause cause = change != Change::kNone ? Cause::kChange : sample.probe ? Cause::kProbe : Cause::kSamples;
  Decide(sample.peer, sample.bytes, cause, now_ns);
  if (sample.probe) cell.until_decision = kDecideAfterProbe;
}

// What need not be done for every sample.
void Advisor::Tick(Peer& peer, int64_t now_ns) {
  const auto spent = static_cast<double>(peer.spent_ns);
  // A new path deserves a look at everything: it begins with a full budget.
  peer.probe_budget_ns += peer.transfers <= kTickEvery ? spent * kBudgetTransfers : spent * options_.probe_share;
  peer.probe_budget_ns = std::min(peer.probe_budget_ns, spent * (kBudgetTransfers / kTickEvery));
  peer.changes -= kTickEvery * kChangesGain * peer.changes;
  peer.changes_followed = std::min(peer.changes_followed + kTickEvery * kFollowRate, kFollowMax);
  peer.tail.mean += kTailGain * (peer.tails - kTickEvery * peer.tail.mean);
  peer.tail.square += kTailGain * (peer.tail_squares - kTickEvery * peer.tail.square);
  peer.spent_ns = 0;
  peer.tails = peer.tail_squares = 0;
  if (peer.quarantined != 0) LiftQuarantines(peer, now_ns);
}

// What was measured while the path was cold is taken for as fast as what has just been used.
void Advisor::LookAgain(Peer& peer, const Sample& sample) {
  const double cost_ns = peer.estimators[sample.alternative].CostNs(sample.bytes, nullptr, peer.tail);
  peer.unsettled = kUnsettledTransfers;
  for (uint32_t i = 0; i < peer.alternative_count; ++i) {
    Estimator& other = peer.estimators[i];
    const bool measured = peer.last_sample[i] != 0;  // a profile's figures are of warm paths
    if (!measured || peer.transfers - peer.last_sample[i] <= kInUse) continue;
    other.Doubt(kDoubtOfNeighbours);
    const double eased = cost_ns / std::max(1.0, other.CostNs(sample.bytes, nullptr, peer.tail));
    if (eased < 1) other.Scale(eased);
  }
}

// Charged with what it cost beyond the current choice, not with what was feared; and credited with what it cost less:
// where latencies are uneven, to charge bad luck and not to credit good would make debts of noise.
void Advisor::SettleProbe(Peer& peer, const Sample& sample) {
  peer.probe_out = false;
  const Cell& cell = CellOf(sample.peer, sample.bytes);
  if (cell.choice == kNone || cell.choice == sample.alternative) return;
  const double instead = peer.estimators[cell.choice].CostNs(sample.bytes, nullptr, peer.tail);
  peer.probe_budget_ns -= static_cast<double>(sample.latency_ns) - instead;
  const Estimator& estimator = peer.estimators[sample.alternative];
  if (!estimator.known() || peer.unsettled > 0) return;
  const double expected = std::max(1.0, estimator.CostNs(sample.bytes, nullptr, peer.tail));
  const auto latency = static_cast<double>(std::max<int64_t>(1, sample.latency_ns));
  const auto surprise = static_cast<float>(Log2(latency / expected));
  const float error = std::sqrt(estimator.Log2ErrorSquared(sample.bytes, nullptr, peer.tail));
  if (surprise > -kSurprise - kSurpriseErrors * error) return;
  Unsettle(peer, peer.alternatives[sample.alternative].rails, sample.alternative);
  Ease(peer, sample, Exp2(surprise), latency);
}

// What is known of these rails may no longer hold; decisions follow every sample for a while.
void Advisor::Unsettle(Peer& peer, uint16_t rails, int except) {
  peer.unsettled = kUnsettledTransfers;
  peer.changes += kChangesGain;
  for (uint32_t i = 0; i < peer.alternative_count; ++i) {
    // What several rails did together says nothing of one of them.
    if (static_cast<int>(i) == except || (rails & ~peer.alternatives[i].rails) != 0) continue;
    if (peer.InUse(i)) continue;
    peer.estimators[i].Doubt(kDoubtOfNeighbours);
  }
}

// What became faster for one alternative is taken to have become so for the others on its rails, though not faster than
// the one that shows it: what was learned while the path was slow would never be tried again otherwise, however far off
// it is. What became slower for one is tried before it is believed of others.
void Advisor::Ease(Peer& peer, const Sample& sample, double factor, double cost_ns) {
  const uint16_t rails = peer.alternatives[sample.alternative].rails;
  for (uint32_t i = 0; i < peer.alternative_count; ++i) {
    if (i == sample.alternative || (rails & ~peer.alternatives[i].rails) != 0) continue;
    Estimator& other = peer.estimators[i];
    if (!other.known() || peer.InUse(i)) continue;
    const double eased = std::max(factor, cost_ns / std::max(1.0, other.CostNs(sample.bytes, nullptr, peer.tail)));
    if (eased < 1) other.Scale(eased);
  }
}

void Advisor::OnChange(Peer& peer, const Sample& sample) {
  ++alarms_;
  // While everything is looked at anew, what probes find is the same news again.
  if (peer.unsettled > 0 && sample.probe) return;
  peer.changes_followed -= 1;
  Unsettle(peer, peer.alternatives[sample.alternative].rails, sample.alternative);
  const Estimator& estimator = peer.estimators[sample.alternative];
  if (estimator.last_shift() >= 1) return;
  Ease(peer, sample, estimator.last_shift(), estimator.CostNs(sample.bytes, nullptr, peer.tail));
  // A debt was made in transfers that took longer; what is fast now could not pay it in any useful time.
  if (peer.probe_budget_ns < 0) peer.probe_budget_ns *= estimator.last_shift();
}

void Advisor::LoseRail(uint32_t peer_index, uint32_t rail, int64_t now_ns) {
  Peer& peer = *peers_[peer_index];
  const auto bit = static_cast<uint16_t>(1u << rail);
  peer.quarantined |= bit;
  peer.quarantine_until_ns[rail] = kUntilRestored;
  Unsettle(peer, bit, -1);
  DecideAll(peer_index, bit, Cause::kQuarantine, now_ns);
}

void Advisor::RestoreRail(uint32_t peer_index, uint32_t rail) {
  Peer& peer = *peers_[peer_index];
  const auto bit = static_cast<uint16_t>(1u << rail);
  peer.quarantine_ns[rail] = 0;
  if ((peer.quarantined & bit) == 0) return;
  peer.quarantined &= static_cast<uint16_t>(~bit);
  Unsettle(peer, bit, -1);
}

void Advisor::ObserveFailure(const Sample& sample, int64_t now_ns) {
  Peer& peer = *peers_[sample.peer];
  if (sample.probe) peer.probe_out = false;
  ++peer.transfers;
  peer.unsettled = kUnsettledTransfers;
  peer.estimators[sample.alternative].AddFailure();
  const uint16_t rails = peer.alternatives[sample.alternative].rails;
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
  const uint32_t size_class = SizeClassOf(bytes);
  bool any = false;
  for (uint32_t i = 0; i < peer.alternative_count; ++i) {
    Prediction& prediction = predictions[i];
    const Estimator& estimator = peer.estimators[i];
    prediction = Prediction();
    prediction.alternative = peer.alternatives[i];
    prediction.eligible =
        bytes <= peer.alternatives[i].bytes_max && (peer.alternatives[i].rails & peer.quarantined) == 0;
    any |= prediction.eligible;
    if (!estimator.known()) continue;
    const uint32_t index = peer.keys[i][size_class];
    const KeyState* key = index == kNoKey ? nullptr : &keys_.At(index).state;
    const float age_variance = peer.AgeVariance(i);
    prediction.samples = static_cast<float>(estimator.samples());
    prediction.log2_cost = static_cast<float>(Log2(std::max(1.0, estimator.CostNs(bytes, key, peer.tail))));
    prediction.log2_error = std::sqrt(estimator.Log2ErrorSquared(bytes, key, peer.tail) + age_variance);
    // Without a deadline nobody asks for the tail of each size class.
    const KeyState* tail_key = training_.deadline.count() > 0 ? key : nullptr;
    prediction.log2_p99 = prediction.log2_cost + estimator.Log2P99OverCost(tail_key);
    prediction.reliability = estimator.reliability();
    prediction.bytes_per_ns = estimator.ns_per_byte() <= 0 ? 0.0f : static_cast<float>(1.0 / estimator.ns_per_byte());
  }
  if (any) return;
  // All rails are in quarantine: better a bad one than none.
  for (uint32_t i = 0; i < peer.alternative_count; ++i) {
    predictions[i].eligible = bytes <= peer.alternatives[i].bytes_max;
  }
}

std::vector<Prediction> Advisor::Predictions(uint32_t peer, uint64_t bytes) const {
  std::vector<Prediction> predictions(kAlternativesMax);
  Predict(*peers_[peer], bytes, predictions.data());
  predictions.resize(peers_[peer]->alternative_count);
  return predictions;
}

void Advisor::Decide(uint32_t peer_index, uint64_t bytes, Cause cause, int64_t now_ns) {
  Peer& peer = *peers_[peer_index];
  Cell& cell = CellOf(peer_index, bytes);
  if (peer.probe_out && peer.transfers - peer.last_probe > kProbeLostAfter) peer.probe_out = false;
  Prediction local[kAlternativesMax];
  DecisionEvent* event = trace_ == nullptr ? nullptr : trace_->Next();
  Prediction* predictions = event == nullptr ? local : event->predictions;
  Predict(peer, bytes, predictions);

  Situation situation;
  situation.bytes = bytes;
  situation.training = training_;
  situation.predictions = absl::MakeConstSpan(predictions, peer.alternative_count);
  situation.current = cell.choice == kNone ? -1 : cell.choice;
  situation.transfers_since_switch = cell.since_switch;
  situation.unsettled = peer.unsettled > 0;
  situation.transfers_since_probe = static_cast<uint32_t>(peer.transfers - peer.last_probe);
  situation.probe_allowed = !peer.probe_out;
  situation.log2_probe_budget = peer.probe_budget_ns < 1 ? kNever : static_cast<float>(Log2(peer.probe_budget_ns));
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
    if (cell.choice != kNone) ++switches_;
    cell.choice = chosen;
    cell.since_switch = 0;
  }
  const bool probes = verdict.probe >= 0 && verdict.probe < static_cast<int>(peer.alternative_count);
  cell.probe = probes ? static_cast<uint8_t>(verdict.probe) : kNone;
  cell.bytes_max = peer.alternatives[chosen].bytes_max;
  cell.epoch = epoch_;
  cell.until_decision = kDecideEvery;
}

}  // namespace mcp::internal
