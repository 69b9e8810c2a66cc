// Which way shall this transfer go? The context layer's front: samples in, advice out.
//
// Advise is a look-up in a table. Observe teaches the estimators and, when it is time (something changed, the training
// phase did, or a number of completions has passed), asks the policy anew and writes the table. Time and samples are
// arguments: the same calls give the same advice, bit for bit, on every machine.
//
// Budget: Advise touches two cache lines, Observe about seven. Neither allocates, locks, or reads a clock.
//
// Thread rule: one thread at a time. Lifetime: policy and trace outlive the advisor.
#ifndef MCP_LIB_CONTEXT_ADVISOR_H_
#define MCP_LIB_CONTEXT_ADVISOR_H_

#include <algorithm>
#include <bit>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/attributes.h"
#include "absl/base/optimization.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "lib/base/assert.h"
#include "lib/context/estimator.h"
#include "lib/context/key_table.h"
#include "lib/context/trace.h"
#include "mcp/context.h"

namespace mcp::internal {

struct AdvisorOptions {
  uint32_t peers_max = 1024;
  uint32_t keys_max = 8192;
  // Share of the time spent in transfers that probing of alternatives may cost.
  float probe_share = 0.01f;
  int64_t quarantine_ns_min = 50'000'000;  // of a rail that failed; doubles with each failure
  int64_t quarantine_ns_max = 2'000'000'000;
};

// Sizes are classed by octave: class c holds (2^(c+7), 2^(c+8)], the first everything below, the last everything above.
inline constexpr uint32_t kSizeClasses = 24;
inline uint32_t SizeClassOf(uint64_t bytes) {
  const uint64_t most = bytes - (bytes > 0 ? 1 : 0);
  return std::min(static_cast<uint32_t>(std::bit_width(most | 255)) - 8, kSizeClasses - 1);
}

// The largest that is in the class; of the last, the smallest that is in no other.
inline constexpr uint64_t SizeClassBytesMax(uint32_t size_class) { return uint64_t{1} << (size_class + 8); }

struct Advice {
  uint8_t alternative = 0;  // as given to AddPeer
  bool probe = false;       // to be handed back with its sample
};

struct Sample {
  uint32_t peer = 0;
  uint8_t alternative = 0;
  bool probe = false;
  uint64_t bytes = 0;
  int64_t latency_ns = 0;    // without the queueing in front of it (sampler.h)
  uint32_t retransmits = 0;  // by the protocol, and by the device where it tells
};

class Advisor {
 public:
  Advisor(const AdvisorOptions& options, const Policy* policy, DecisionTrace* trace);
  ~Advisor();

  // The alternatives of a new peer, the best guess first; at most kAlternativesMax. Returns its number.
  absl::StatusOr<uint32_t> AddPeer(absl::Span<const Alternative> alternatives);
  void RemovePeer(uint32_t peer);

  Advice Advise(uint32_t peer, uint64_t bytes, int64_t now_ns) {
    MCP_ASSERT(peer < peers_.size() && peers_[peer] != nullptr);
    const Cell& cell = CellOf(peer, bytes);
    if (ABSL_PREDICT_FALSE(cell.epoch != epoch_ || cell.probe != kNone || bytes > cell.bytes_max)) {
      return AdviseSlowly(peer, bytes, now_ns);
    }
    return {cell.choice, false};
  }
  void Observe(const Sample& sample, int64_t now_ns);
  // The path did not carry a transfer: its rails are left at once, whatever the statistics say, and tried again later.
  // Where nothing else can carry it, it took at least as long as was waited for it.
  void ObserveFailure(const Sample& sample, int64_t now_ns);
  // A probe gives no sample: another one may be sent.
  void AbandonProbe(uint32_t peer);

  // The session has lost the rail: what needs it is left at once, until the rail is restored. Where everything needs
  // it, whatever was learned with it is doubted, since the others carry its share now.
  void LoseRail(uint32_t peer, uint32_t rail, int64_t now_ns);
  // The session has connected the rail again, or a keep-alive was answered: its quarantine ends.
  void RestoreRail(uint32_t peer, uint32_t rail);

  void SetTraining(const TrainingContext& training);

  // What a profile knows before the first sample.
  void Seed(uint32_t peer, uint8_t alternative, double base_ns, double ns_per_byte, double samples);
  // What the estimators say now, for a tool or a test.
  std::vector<Prediction> Predictions(uint32_t peer, uint64_t bytes) const;
  const Estimator& EstimatorOf(uint32_t peer, uint8_t alternative) const;

  uint64_t switches() const { return switches_; }
  uint64_t probes() const { return probes_; }
  uint64_t alarms() const { return alarms_; }
  const KeyTable& keys() const { return keys_; }

 private:
  static constexpr uint8_t kNone = 0xff;
  static constexpr uint32_t kRails = 16;

  // What Advise reads: the decision for one size class of one peer.
  struct Cell {
    uint64_t bytes_max = 0;    // that the choice can carry
    uint64_t bytes = 0;        // of the sample that made a decision due
    uint32_t epoch = 0;        // of the last decision; 0: none yet
    uint32_t samples = 0;      // of all alternatives
    uint32_t switched_at = 0;  // in samples
    uint32_t decide_at = 0;
    uint32_t compared_from = 0;  // in samples: since then what is in use is compared with its rivals
    uint8_t choice = kNone;
    uint8_t probe = kNone;  // to be tried by the next transfer
    bool in_haste = false;  // the decision that is due next does not wait for deferred samples
  };

  struct Peer;

  Cell& CellOf(uint32_t peer, uint64_t bytes);
  Advice AdviseSlowly(uint32_t peer, uint64_t bytes, int64_t now_ns);
  KeyState& KeyOf(uint32_t peer_index, uint8_t alternative, uint32_t size_class);
  Key* MakeKey(uint32_t peer_index, uint8_t alternative, uint32_t size_class);
  // Not inlined, and called last: Observe then keeps nothing over a call.
  ABSL_ATTRIBUTE_NOINLINE void OnDecisionDue(const Sample& sample, uint32_t size_class, int64_t now_ns);
  ABSL_ATTRIBUTE_NOINLINE void LearnBatch(const Sample& sample, int64_t now_ns);
  void CatchUp(uint32_t peer_index);
  ABSL_ATTRIBUTE_NOINLINE void Learn(const Sample& sample, uint32_t size_class, int64_t now_ns);
  void CountTail(Peer& peer, const UsualTail& tail);
  void OnChange(Peer& peer, const Sample& sample, Change change);
  void Tick(Peer& peer, int64_t now_ns);
  void SettleProbe(Peer& peer, const Sample& sample);
  void Settle(uint32_t peer_index);
  void Unsettle(Peer& peer, uint16_t rails, int except);
  void Ease(Peer& peer, const Sample& sample, double factor, double cost_ns);
  void LookAgain(Peer& peer, const Sample& sample);
  void Compare(const Sample& sample, uint32_t size_class, KeyState* key);
  void CompareAnew(uint32_t peer_index, uint32_t size_class);
  Gain GainOf(const Peer& peer, const Cell& cell, uint32_t size_class, uint32_t alternative) const;
  void PredictGains(const Peer& peer, const Cell& cell, uint64_t bytes, Prediction* predictions) const;
  void Predict(const Peer& peer, uint64_t bytes, Prediction* predictions) const;
  void PredictFour(const Peer& peer, uint64_t bytes, uint32_t first, Prediction* predictions) const;
  static void CountUnnoticed(Peer& peer);
  void DecideDue(uint32_t peer_index, Cause cause, int64_t now_ns);
  void Decide(uint32_t peer_index, uint64_t bytes, Cause cause, int64_t now_ns);
  void DecideAll(uint32_t peer_index, uint16_t rails, Cause cause, int64_t now_ns);
  void LiftQuarantines(Peer& peer, int64_t now_ns);

  const AdvisorOptions options_;
  const Policy* const policy_;
  DecisionTrace* const trace_;
  std::vector<Cell> cells_;  // kSizeClasses a peer
  std::vector<std::unique_ptr<Peer>> peers_;
  KeyTable keys_;
  TrainingContext training_;
  Prediction predictions_[kAlternativesMax];  // of a decision that is not traced
  uint32_t epoch_ = 1;                        // counts what makes every decision stale
  uint64_t switches_ = 0;
  uint64_t probes_ = 0;
  uint64_t alarms_ = 0;
};

inline Advisor::Cell& Advisor::CellOf(uint32_t peer, uint64_t bytes) {
  return cells_[size_t{peer} * kSizeClasses + SizeClassOf(bytes)];
}

}  // namespace mcp::internal

#endif  // MCP_LIB_CONTEXT_ADVISOR_H_
