// What samples teach the advisor.
//
// Budget of one that is as expected: seven cache lines and some 80 instructions, then its share of the batch.
#include <cmath>
#include <utility>

#include "lib/context/advisor_peer.h"
#include "lib/context/log2.h"

namespace mcp::internal {
namespace {

constexpr uint32_t kTickEvery = 32;         // transfers, at least
constexpr uint32_t kDecideAfterProbe = 2;   // samples: what it found may be worth a second look
constexpr float kDoubtOfNeighbours = 1.0f;  // variance of log2 of the cost, after a change on the same rail
constexpr float kTailGain = 1.0f / 1024;
// The first transfers of a path meet cold caches and congestion windows that are still small: whatever came first then
// looks slow. After so many all is looked at once more.
constexpr uint64_t kPathWarm = 32;
// A probe that finds this much less is news: log2, and standard errors of what was expected. What was measured seldom,
// or where latencies are uneven, is often far off.
constexpr float kSurprise = 0.8f;
constexpr float kSurpriseErrors = 2.0f;
constexpr double kBudgetTransfers = 24;  // of the current cost: more is not saved up

}  // namespace

KeyState& Advisor::KeyOf(uint32_t peer_index, uint8_t alternative, uint32_t size_class) {
  Key*& key = peers_[peer_index]->keys[alternative][size_class];
  if (ABSL_PREDICT_FALSE(key == nullptr)) key = MakeKey(peer_index, alternative, size_class);
  key->used_lately = true;
  return key->state;
}

Key* Advisor::MakeKey(uint32_t peer_index, uint8_t alternative, uint32_t size_class) {
  Key* const place = keys_.FindPlace();
  if (place->in_use) {
    CatchUp(place->peer);  // what is deferred refers to it
    CompareAnew(place->peer, place->size_class);
    peers_[place->peer]->keys[place->alternative][place->size_class] = nullptr;
  }
  keys_.Insert(place, peer_index, alternative, static_cast<uint8_t>(size_class));
  return place;
}

// A sample that is as expected, of what is in use while nothing has happened lately, changes no decision: it is
// deferred.
void Advisor::Observe(const Sample& sample, int64_t now_ns) {
  Peer& peer = *peers_[sample.peer];
  MCP_ASSERT(sample.alternative < peer.alternative_count);
  const uint32_t size_class = SizeClassOf(sample.bytes);
  Peer::Known& known = peer.known[sample.alternative];
  Key* const key = peer.keys[sample.alternative][size_class];
  const bool news = (peer.unsettled | sample.retransmits | uint32_t{sample.probe}) != 0;
  if (news || key == nullptr || static_cast<int64_t>(peer.transfers - known.last_sample) > kAgeMin ||
      !known.estimator.Defer(sample.bytes, sample.latency_ns, size_class, key->state.inverse_factor)) {
    return Learn(sample, size_class, now_ns);
  }
  key->used_lately = true;
  known.deferred_at = peer.transfers + ++peer.deferred;
  peer.spent_ns += sample.latency_ns;
  Cell& cell = cells_[size_t{sample.peer} * kSizeClasses + size_class];
  if (ABSL_PREDICT_FALSE(++cell.samples >= cell.decide_at)) return OnDecisionDue(sample, size_class, now_ns);
  if (known.estimator.deferred() == kBatch) LearnBatch(sample, now_ns);
}

// It waits for the deferred samples to be learned, unless a probe has just found something.
void Advisor::OnDecisionDue(const Sample& sample, uint32_t size_class, int64_t now_ns) {
  Peer& peer = *peers_[sample.peer];
  Cell& cell = CellOf(sample.peer, sample.bytes);
  cell.bytes = sample.bytes;
  cell.decide_at = cell.samples + kBatch;
  peer.decisions_due |= 1u << size_class;
  if (peer.known[sample.alternative].estimator.deferred() == kBatch) {
    LearnBatch(sample, now_ns);
  } else if (cell.in_haste) {
    CatchUp(sample.peer);
    DecideDue(sample.peer, Cause::kSamples, now_ns);
  }
}

// `sample` is the newest of it.
void Advisor::LearnBatch(const Sample& sample, int64_t now_ns) {
  Peer& peer = *peers_[sample.peer];
  peer.deferred -= kBatch;
  Peer::Known& known = peer.known[sample.alternative];
  peer.transfers += kBatch;
  known.last_sample = known.last_use = peer.transfers;
  known.unseen = peer.changes.unseen();
  const Change change = known.estimator.LearnBatch(peer.changes_followed < 1, peer.keys[sample.alternative]);
  Tick(peer, now_ns);
  if (ABSL_PREDICT_TRUE(change == Change::kNone)) return DecideDue(sample.peer, Cause::kSamples, now_ns);
  CatchUp(sample.peer);
  OnChange(peer, sample, change);
  Decide(sample.peer, sample.bytes, Cause::kChange, now_ns);
}

// What is as expected is learned before what is not.
void Advisor::CatchUp(uint32_t peer_index) {
  Peer& peer = *peers_[peer_index];
  if (ABSL_PREDICT_TRUE(peer.deferred == 0)) return;
  peer.transfers += std::exchange(peer.deferred, 0);
  Sample news{.peer = peer_index};
  Change newest = Change::kNone;
  for (uint8_t i = 0; i < peer.alternative_count; ++i) {
    Peer::Known& known = peer.known[i];
    if (known.estimator.deferred() == 0) continue;
    known.last_sample = known.last_use = known.deferred_at;
    known.unseen = peer.changes.unseen();
    while (known.estimator.deferred() > 0) {
      const uint64_t bytes = known.estimator.OldestDeferredBytes();
      const Change change = known.estimator.LearnDeferred(peer.changes_followed < 1, peer.keys[i]);
      CountTail(peer, known.estimator.last_tail());
      if (change == Change::kNone) continue;
      news.alternative = i;
      news.bytes = bytes;
      newest = change;
    }
  }
  if (newest != Change::kNone) OnChange(peer, news, newest);
}

void Advisor::Learn(const Sample& sample, uint32_t size_class, int64_t now_ns) {
  CatchUp(sample.peer);
  Peer& peer = *peers_[sample.peer];
  Peer::Known& known = peer.known[sample.alternative];
  KeyState& key = KeyOf(sample.peer, sample.alternative, size_class);
  if (sample.probe) {
    Compare(sample, size_class, &key);
    SettleProbe(peer, sample);
  }
  const float age_variance = peer.AgeVariance(sample.alternative);
  if (age_variance > 0) known.estimator.Age(age_variance);
  const bool restless = peer.changes_followed < 1;
  const Change change = known.estimator.Add(sample.bytes, sample.latency_ns, sample.retransmits, restless, &key);
  known.last_sample = ++peer.transfers;
  known.unseen = peer.changes.unseen();
  if (!sample.probe) known.last_use = peer.transfers;
  peer.spent_ns += sample.latency_ns;
  CountTail(peer, known.estimator.last_tail());
  Tick(peer, now_ns);
  if (peer.transfers >= kPathWarm && !std::exchange(peer.looked_again, true)) LookAgain(peer, sample);
  if (change != Change::kNone) OnChange(peer, sample, change);
  Cell& cell = CellOf(sample.peer, sample.bytes);
  ++cell.samples;
  if (peer.unsettled > 0) {
    if (--peer.unsettled == 0) Settle(sample.peer);
  } else if (cell.samples < cell.decide_at && !sample.probe && (peer.decisions_due >> size_class & 1) == 0) {
    return;
  }
  const Cause cause = change != Change::kNone ? Cause::kChange : sample.probe ? Cause::kProbe : Cause::kSamples;
  Decide(sample.peer, sample.bytes, cause, now_ns);
  if (!sample.probe) return;
  cell.decide_at = cell.samples + kDecideAfterProbe;
  cell.in_haste = true;
}

void Advisor::CountTail(Peer& peer, const UsualTail& tail) {
  peer.tails += tail.mean;
  peer.tail_squares += tail.square;
}

// What need not be done for every sample.
void Advisor::Tick(Peer& peer, int64_t now_ns) {
  const uint64_t since = peer.transfers - peer.last_tick;
  if (ABSL_PREDICT_TRUE(since < kTickEvery)) return;
  peer.last_tick = peer.transfers;
  const auto of = static_cast<float>(since);
  const auto spent = static_cast<double>(peer.spent_ns);
  // A new path deserves a look at everything: it begins with a full budget.
  peer.probe_budget_ns += peer.transfers == since ? spent * kBudgetTransfers : spent * options_.probe_share;
  peer.probe_budget_ns = std::min(peer.probe_budget_ns, spent * (kBudgetTransfers / of));
  peer.changes.Pass(of);
  peer.changes_followed = std::min(peer.changes_followed + of * kFollowRate, kFollowMax);
  peer.tail.mean += kTailGain * (peer.tails - of * peer.tail.mean);
  peer.tail.square += kTailGain * (peer.tail_squares - of * peer.tail.square);
  peer.spent_ns = 0;
  peer.tails = peer.tail_squares = 0;
  if (peer.quarantined != 0) LiftQuarantines(peer, now_ns);
}

// What was measured while the path was cold is taken for as fast as what has just been used.
void Advisor::LookAgain(Peer& peer, const Sample& sample) {
  const double cost_ns = peer.known[sample.alternative].estimator.CostNs(sample.bytes, nullptr, peer.tail);
  peer.unsettled = kUnsettledTransfers;
  for (uint32_t i = 0; i < peer.alternative_count; ++i) {
    Estimator& other = peer.known[i].estimator;
    const uint64_t last_sample = peer.known[i].last_sample;  // 0: a profile's figures are of warm paths
    if (last_sample == 0 || peer.transfers - last_sample <= kInUse) continue;
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
  const double instead = peer.known[cell.choice].estimator.CostNs(sample.bytes, nullptr, peer.tail);
  peer.probe_budget_ns -= static_cast<double>(sample.latency_ns) - instead;
  const Estimator& estimator = peer.known[sample.alternative].estimator;
  if (!estimator.known() || peer.unsettled > 0) return;
  const double expected = std::max(1.0, estimator.CostNs(sample.bytes, nullptr, peer.tail));
  const auto latency = static_cast<double>(std::max<int64_t>(1, sample.latency_ns));
  const auto surprise = static_cast<float>(Log2(latency / expected));
  const float error = std::sqrt(estimator.Log2ErrorSquared(sample.bytes, nullptr, peer.tail));
  if (surprise > -kSurprise - kSurpriseErrors * error) return;
  Unsettle(peer, peer.alternatives[sample.alternative].rails, sample.alternative);
  Ease(peer, sample, Exp2(surprise), latency);
}

// What is known holds again: from now on it can be compared.
void Advisor::Settle(uint32_t peer_index) {
  peers_[peer_index]->losses_began = false;
  for (uint32_t i = 0; i < kSizeClasses; ++i) CompareAnew(peer_index, i);
}

// What is known of these rails may no longer hold; decisions follow every sample for a while.
void Advisor::Unsettle(Peer& peer, uint16_t rails, int except) {
  peer.unsettled = kUnsettledTransfers;
  peer.changes.Count(1);
  for (uint32_t i = 0; i < peer.alternative_count; ++i) {
    // What several rails did together says nothing of one of them.
    if (static_cast<int>(i) == except || (rails & ~peer.alternatives[i].rails) != 0) continue;
    if (peer.InUse(i)) continue;
    peer.known[i].estimator.Doubt(kDoubtOfNeighbours);
  }
}

// What became faster for one alternative is taken to have become so for the others on its rails, though not faster than
// the one that shows it: what was learned while the path was slow would never be tried again otherwise, however far off
// it is. What became slower for one is tried before it is believed of others.
void Advisor::Ease(Peer& peer, const Sample& sample, double factor, double cost_ns) {
  const uint16_t rails = peer.alternatives[sample.alternative].rails;
  for (uint32_t i = 0; i < peer.alternative_count; ++i) {
    if (i == sample.alternative || (rails & ~peer.alternatives[i].rails) != 0) continue;
    Estimator& other = peer.known[i].estimator;
    if (!other.known() || peer.InUse(i)) continue;
    const double eased = std::max(factor, cost_ns / std::max(1.0, other.CostNs(sample.bytes, nullptr, peer.tail)));
    if (eased < 1) other.Scale(eased);
  }
}

void Advisor::OnChange(Peer& peer, const Sample& sample, Change change) {
  ++alarms_;
  const Estimator& estimator = peer.known[sample.alternative].estimator;
  // Losses that end may be seen by latencies alone. Those that begin may be seen after the latencies that they make:
  // then all is being looked at anew already.
  if (change == Change::kDown) peer.losses_began = false;
  if (change == Change::kUp && estimator.last_shift() == 1) {
    const bool told = peer.unsettled > 0 && !peer.losses_began && peer.changed_by == sample.alternative;
    peer.losses_began = true;
    if (told) return;
  }
  // While everything is looked at anew, what probes find is the same news again.
  if (peer.unsettled > 0 && sample.probe) return;
  peer.changes_followed -= 1;
  peer.changed_by = sample.alternative;
  Unsettle(peer, peer.alternatives[sample.alternative].rails, sample.alternative);
  if (estimator.last_shift() >= 1) return;
  Ease(peer, sample, estimator.last_shift(), estimator.CostNs(sample.bytes, nullptr, peer.tail));
  // A debt was made in transfers that took longer; what is fast now could not pay it in any useful time.
  if (peer.probe_budget_ns < 0) peer.probe_budget_ns *= estimator.last_shift();
}

}  // namespace mcp::internal
