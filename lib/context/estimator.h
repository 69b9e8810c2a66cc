// What one alternative costs a peer: everything that its completions taught, pooled over sizes.
//
// A sample that is as expected is deferred, a few instructions, and learned with kBatch of its like: predictions, sums
// and averages are updated once for all. What is not as expected, and all while little is known, is learned at once.
//
// Latencies are clipped to a few times
// what was predicted before they teach the fit, since one outlier would bend it for long; what was cut off is averaged
// apart, over a longer time, and added back to the cost: a protocol that stalls once in a hundred transfers pays for
// it.
//
// A plain value, for one thread.
#ifndef MCP_LIB_CONTEXT_ESTIMATOR_H_
#define MCP_LIB_CONTEXT_ESTIMATOR_H_

#include <cstdint>

#include "absl/types/span.h"
#include "lib/context/change_detector.h"
#include "lib/context/comparison.h"
#include "lib/context/cost.h"
#include "lib/context/linear_fit.h"
#include "lib/context/ratio_histogram.h"
#include "lib/context/select.h"

namespace mcp::internal {

// What is kept for a key: (peer, alternative, size class).
struct KeyState {
  static constexpr float kFactorMemory = 128;  // samples

  // The fit is linear in size, paths are not quite: this class costs 1 / inverse_factor times what the fit says.
  float inverse_factor = 1;
  float strayed = 0;      // sum of clipped deviations since the factor was last moved
  uint32_t moved_at = 0;  // in samples of `ratios`
  // Of all samples since comparisons began: how far they were, clipped as tails are, beyond what was predicted. What is
  // in use is compared with its rivals by this.
  float beyond = 0;
  Comparison comparison;  // with what is in use, if this is not
  RatioHistogram ratios;

  // Samples since the factor was last moved. (What an excursion was is taken back from the histogram.)
  int32_t waiting() const { return static_cast<int32_t>(ratios.total() - moved_at); }
  // That still count.
  float samples() const { return Smaller(static_cast<float>(ratios.total()), kFactorMemory); }
};

struct Key;

class Estimator {
 public:
  static constexpr float kMemory = 256;      // samples
  static constexpr float kRatioMax = 4;      // beyond, a latency counts as tail
  static constexpr float kRatioMaxNew = 16;  // the same while there are few samples
  static constexpr float kTailGain = 1.0f / 512;
  static constexpr float kLongMemory = 8192;      // samples; then all count half
  static constexpr float kVariancePrior = 0.10f;  // of a ratio, before anything is known: a third

  // One completion. Says whether the path behind it has changed; then the estimate starts over from the samples since.
  // Unless the path is `restless`, changing faster than it can be followed: then changes are noise, to be averaged.
  // What was deferred is to be learned first.
  Change Add(uint64_t bytes, int64_t latency_ns, uint32_t retransmits, bool restless, KeyState* key);

  // Defers a sample without retransmissions if it is as expected, and says whether it did. At most kBatch; its key
  // stays until they are learned.
  bool Defer(uint64_t bytes, int64_t latency_ns, uint32_t size_class, float inverse_factor) {
    const auto size = static_cast<float>(static_cast<int64_t>(bytes));
    const float observed = static_cast<float>(latency_ns) * inverse_factor;
    const float predicted = expected_.base_ns + expected_.ns_per_byte * size;
    if (observed > expected_.times * predicted || predicted > expected_.times * observed) return false;
    const uint32_t recent = Record(size, observed);
    ++deferred_;
    recent_classes_[recent] = static_cast<uint8_t>(size_class);  // last: a store of bytes may alias any load
    return true;
  }
  uint32_t deferred() const { return deferred_; }
  uint64_t OldestDeferredBytes() const { return static_cast<uint64_t>(recent_bytes_[OldestDeferred()]); }
  // Learns the oldest of them, or all kBatch. `keys` are the alternative's, by size class.
  Change LearnDeferred(bool restless, absl::Span<Key* const> keys);
  Change LearnBatch(bool restless, absl::Span<Key* const> keys);

  void AddFailure();

  bool known() const { return fit_.seeded(); }
  // Before the first sample: a guess that counts as that many.
  void Seed(double base_ns, double ns_per_byte, double samples);

  // Expected nanoseconds, tails included.
  double CostNs(uint64_t bytes, const KeyState* key, const UsualTail& usual) const {
    return static_cast<double>(TermsOfCost(bytes, key).Ns(usual));
  }
  // The same without tails: what samples are predicted to take.
  double UsualNs(uint64_t bytes, const KeyState* key) const {
    return fit_.At(SizeOf(bytes)) / (key == nullptr ? 1.0 : static_cast<double>(key->inverse_factor));
  }
  // Of a clipped sample's ratio to that: over thousands of samples, so that what is rare has its part in it.
  float LongVariance() const { return squared_ < kRecent ? variance_ : squares_ / squared_; }
  // Square of the standard error of log2 of the cost, less what age adds.
  float Log2ErrorSquared(uint64_t bytes, const KeyState* key, const UsualTail& usual) const {
    return Terms(bytes, key).Log2ErrorSquared(usual);
  }
  // Without the leverage, which takes longest and matters to the error alone.
  CostTerms<float> TermsOfCost(uint64_t bytes, const KeyState* key) const {
    return {.line_ns = static_cast<float>(fit_.At(SizeOf(bytes))),
            .inverse_factor = key == nullptr ? 1.0f : key->inverse_factor,
            .class_samples = key == nullptr ? 0.0f : key->samples(),
            .tail = tail_,
            .tail_samples = tail_samples_,
            .variance = variance_,
            .leverage = 0,
            .doubt = doubt_};
  }
  CostTerms<float> Terms(uint64_t bytes, const KeyState* key) const {
    CostTerms<float> terms = TermsOfCost(bytes, key);
    terms.leverage = Smaller(static_cast<float>(fit_.Leverage(SizeOf(bytes))), kLeverageMax);
    return terms;
  }
  // log2 of what 99 of 100 transfers do not exceed, in units of the cost: from the spread; or from the histogram of the
  // class if that has samples enough, which is a loop over buckets.
  float Log2P99OverCost() const { return latency_.centre() + kP99Normal * latency_.spread(); }
  float Log2P99OverCost(const KeyState& key) const;
  // By which factor the estimate moved when it last started over.
  float last_shift() const { return last_shift_; }
  // What the last sample that was learned showed to have been cut off, in units of the prediction: its own tail, and
  // those of an excursion that is over.
  const UsualTail& last_tail() const { return last_tail_; }

  double samples() const { return fit_.samples(); }
  double ns_per_byte() const { return fit_.ns_per_byte(); }
  double base_ns() const { return fit_.base_ns(); }
  float reliability() const { return reliability_; }
  float retransmits() const { return retransmits_.rate(); }
  const LatencyDetector& detector() const { return latency_; }

  // A neighbour on the same rail has seen a change: what was learned here may no longer hold.
  void Doubt(float log2_variance);
  // It is taken to have become `factor` times as slow.
  void Scale(double factor);
  // It was not used for a while, in which log2 of its cost may have wandered by this variance: the next sample counts
  // the more. (The prediction step of a Kalman filter.)
  void Age(float log2_variance);

 private:
  static constexpr uint32_t kRecent = kBatch;
  static constexpr uint32_t kNewStart = 8;  // samples that a new start is made from, at most
  static constexpr float kLeverageMax = 4;
  static constexpr float kP99Normal = 2.326f;
  static constexpr float kSpreadSamples = 1;  // that the spread before a change counts for after it

  uint32_t OldestDeferred() const { return (recent_next_ - deferred_) % kRecent; }
  uint32_t Record(float bytes, float observed_ns) {
    const uint32_t recent = recent_next_++ % kRecent;
    recent_bytes_[recent] = bytes;
    recent_ns_[recent] = observed_ns;
    return recent;
  }
  Change Learn(double bytes, double observed_ns, uint32_t retransmits, bool restless, KeyState* key);
  Change Conclude(Change latency_change, Change count_change, bool restless, KeyState* key);
  uint32_t Excursion(Change direction, float* log2_ratios) const;
  bool IsRare(Change direction, const RatioHistogram& usual) const;
  void Expect();
  // Signed: what is not takes a branch.
  static double SizeOf(uint64_t bytes) { return static_cast<double>(static_cast<int64_t>(bytes)); }
  void MoveFactor(float samples, KeyState* key) const;
  void MoveFactors(float samples, absl::Span<Key* const> keys);
  void MoveLevel(double bytes, double latency_ns);
  void SettleTail(float tail, bool restless);
  void AddTail(float tail, uint32_t samples);
  void AddSquares(float squares, uint32_t samples);
  void AddFirst(double bytes, double latency_ns);
  void StartOver(Change direction, RatioHistogram* histogram);

  LinearFit fit_;
  float variance_ = kVariancePrior;  // of the clipped ratio
  float squares_ = 0;                // of its deviations, over a longer time
  float squared_ = 0;                // samples
  float tail_ = 0;                   // mean of what was clipped, in units of the prediction
  float tail_samples_ = 0;
  UsualTail last_tail_;
  // Cut off in the excursion that goes on: tail if that passes, none of it if the path has become slower.
  UsualTail pending_tail_;
  float last_shift_ = 1;
  float doubt_ = 0;  // variance of log2 of the cost that the samples do not account for
  float reliability_ = 1;
  LatencyDetector latency_;
  CountDetector retransmits_;
  // The last samples as they came: a new start is made from them. Of these the newest `deferred_` are not learned yet.
  uint32_t recent_next_ = 0;
  uint32_t deferred_ = 0;
  uint32_t batches_ = 0;  // since factors were moved
  // A sample that is at most so many times as long, or as short, is deferred; 0: none is.
  struct {
    float base_ns = 0;
    float ns_per_byte = 0;
    float times = 0;
  } expected_;
  float recent_bytes_[kRecent] = {};
  float recent_ns_[kRecent] = {};
  uint8_t recent_classes_[kRecent] = {};
};

}  // namespace mcp::internal

#endif  // MCP_LIB_CONTEXT_ESTIMATOR_H_
