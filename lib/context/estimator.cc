#include "lib/context/estimator.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "absl/base/optimization.h"
#include "lib/context/inverse.h"
#include "lib/context/key_table.h"
#include "lib/context/log2.h"
#include "lib/context/select.h"

namespace mcp::internal {
namespace {

constexpr float kLog2E = 1.442695f;
constexpr float kFewSamples = 4;  // so few that a sample may still be anything
constexpr float kTailSamplesFew = 200;
constexpr float kTailMin = 1e-6f;
constexpr float kFactorsFrom = 32;  // samples: the line comes first, what bends it after
constexpr double kSeedBytesMin = 256 << 10;
constexpr int32_t kFactorEvery = 8;          // samples, where they are learned one by one
constexpr uint32_t kFactorEveryBatches = 4;  // of any classes: those that no batch ends with have their turn, too
constexpr float kMovedMax = 0.5f;
constexpr float kStrayedMax = 0.5f;  // that one sample may
constexpr float kFactorGainMax = 1.0f / 12;
constexpr float kFactorLeak = 1.0f / 1024;
constexpr float kReliabilityGain = 1.0f / 128;
constexpr float kFailureGain = 1.0f / 16;
// Variance of log2 of the cost. Retransmissions that begin or end change it, by nobody knows how much.
constexpr float kDoubtOfLevel = 0.5f;
constexpr uint32_t kQuantileSamplesMin = 64;
constexpr uint32_t kRaritySamplesMin = 32;
constexpr float kRarityBits = 24;  // one of sixteen million
constexpr double kSamplesToDefer = 32;
constexpr float kUsualMax = 1.9f;  // log2, less than what counts as tail

}  // namespace

Change Estimator::Add(uint64_t bytes, int64_t latency_ns, uint32_t retransmits, bool restless, KeyState* key) {
  const auto size = static_cast<double>(bytes);
  // A clock that stands still still took a nanosecond.
  const double observed = static_cast<double>(std::max<int64_t>(latency_ns, 1)) * key->inverse_factor;
  Record(static_cast<float>(size), static_cast<float>(observed));
  return Learn(size, observed, retransmits, restless, key);
}

Change Estimator::LearnDeferred(bool restless, absl::Span<Key* const> keys) {
  const uint32_t oldest = OldestDeferred();
  --deferred_;
  return Learn(recent_bytes_[oldest], recent_ns_[oldest], 0, restless, &keys[recent_classes_[oldest]]->state);
}

Change Estimator::Learn(double size, double observed, uint32_t retransmits, bool restless, KeyState* key) {
  if (!fit_.seeded()) AddFirst(size, observed);
  if (ABSL_PREDICT_FALSE(doubt_ >= kDoubtOfLevel)) MoveLevel(size, observed);

  const double inverse = 1.0 / fit_.At(size);
  const auto ratio = static_cast<float>(observed * inverse);
  const float residual = Log2Coarse(ratio);
  const auto samples = static_cast<float>(fit_.samples());
  const float clipped = Smaller(ratio, samples < kFewSamples ? kRatioMaxNew : kRatioMax);
  const float deviation = Smaller(clipped, kRatioMax) - 1.0f;
  variance_ += InverseOf(Smaller(samples, kMemory) + 3.0f) * (deviation * deviation - variance_);
  AddSquares(deviation * deviation, 1);
  fit_.Add(size, static_cast<double>(clipped), inverse, kMemory);
  doubt_ *= 0.25f;
  reliability_ += kReliabilityGain * ((retransmits == 0 ? 1.0f : 0.0f) - reliability_);

  key->ratios.Add(residual);
  key->beyond += deviation;
  key->strayed += static_cast<float>(latency_.calm()) * Between(-kStrayedMax, deviation, kStrayedMax);
  if (key->waiting() >= kFactorEvery) MoveFactor(samples, key);

  const Change latency_change = latency_.Add(residual);
  SettleTail(ratio - clipped, restless);
  return Conclude(latency_change, retransmits_.Add(retransmits), restless, key);
}

// As Learn, for samples of which nothing is clipped, nothing is tail, and nothing was sent again.
Change Estimator::LearnBatch(bool restless, absl::Span<Key* const> keys) {
  const uint32_t oldest = OldestDeferred();
  const auto samples = static_cast<float>(fit_.samples());
  float residuals[kBatch];
  float deviated[kBatch];
  float strayed[kBatch];
  int32_t buckets[kBatch];
  fit_.AddAll(recent_bytes_, recent_ns_, (oldest + kBatch - 1) % kBatch, kMemory, residuals);
  const auto calm = static_cast<float>(latency_.calm());
  Float4 squares{};
  for (uint32_t i = 0; i < kBatch; i += 4) {
    const Float4 ratios = Load4(residuals + i);
    const Float4 deviations = ratios - 1.0f;
    const Float4 logarithms = Log2Coarse(ratios);
    const Int4 places = RatioHistogram::BucketsOf(logarithms);
    squares += deviations * deviations;
    Store4(deviations, deviated + i);
    Store4(calm * Between(-kStrayedMax, deviations, kStrayedMax), strayed + i);
    Store4(logarithms, residuals + i);
    std::memcpy(buckets + i, &places, sizeof(places));
  }
  const float variance_gain = InverseOf(Smaller(samples, kMemory - kBatch) + kBatch + 3.0f);
  const float squared = SumOf(squares);
  variance_ += variance_gain * (squared - kBatch * variance_);
  AddSquares(squared, kBatch);
  reliability_ += kBatch * kReliabilityGain * (1.0f - reliability_);
  doubt_ = 0;
  Key* const* const by_class = keys.data();  // of which every one that was deferred is there
  for (uint32_t i = 0; i < kBatch; ++i) {
    KeyState& key = by_class[recent_classes_[i]]->state;
    key.ratios.AddTo(buckets[i]);
    key.strayed += strayed[i];
    key.beyond += deviated[i];
  }
  if (++batches_ == kFactorEveryBatches) MoveFactors(samples, keys);
  deferred_ = 0;
  last_tail_ = UsualTail();
  AddTail(0, kBatch);
  KeyState* const newest = &keys[recent_classes_[(oldest + kBatch - 1) % kBatch]]->state;
  return Conclude(latency_.AddUsual(residuals, oldest), retransmits_.Add(0, kBatch), restless, newest);
}

Change Estimator::Conclude(Change latency_change, Change count_change, bool restless, KeyState* key) {
  if (ABSL_PREDICT_FALSE(latency_change != Change::kNone) && !IsRare(latency_change, key->ratios)) {
    latency_change = Change::kNone;  // it goes on: the next sample may say so
  }
  if (restless && (latency_change != Change::kNone || count_change != Change::kNone)) {
    latency_.Restart(LatencyDetector::kWarmUp);
    retransmits_.Restart();
    latency_change = count_change = Change::kNone;
  }
  if (latency_change != Change::kNone) {
    StartOver(latency_change, &key->ratios);
  } else if (count_change != Change::kNone) {
    Doubt(kDoubtOfLevel);
    last_shift_ = 1;
  }
  Expect();
  return latency_change != Change::kNone ? latency_change : count_change;
}

// The samples of the excursion, newest first, as logarithms of their ratios to what is predicted now; those that are
// kept.
uint32_t Estimator::Excursion(Change direction, float* log2_ratios) const {
  const uint32_t count = std::clamp<uint32_t>(latency_.run(direction), 1, kRecent - deferred_);
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t at = (recent_next_ - deferred_ - 1 - i) % kRecent;
    log2_ratios[i] = Log2Coarse(recent_ns_[at] / static_cast<float>(fit_.At(recent_bytes_[at])));
  }
  return count;
}

// The detector knows a spread; where losses make a long tail, what chance does is far beyond it. So what the class has
// shown before must make the excursion improbable, too: that so many of its samples are as far out as those that are.
bool Estimator::IsRare(Change direction, const RatioHistogram& usual) const {
  if (usual.total() < kRaritySamplesMin) return true;
  float log2_ratios[kRecent];
  const uint32_t count = Excursion(direction, log2_ratios);
  const bool up = direction == Change::kUp;
  std::sort(log2_ratios, log2_ratios + count);
  if (up) std::reverse(log2_ratios, log2_ratios + count);
  float ways = 1;  // in which `far` of `count` samples may be the far ones
  for (uint32_t far = 1; far <= count; ++far) {
    ways *= static_cast<float>(count - far + 1) / static_cast<float>(far);
    const float bits = static_cast<float>(far) * usual.Rarity(log2_ratios[far - 1], up, far) - Log2Coarse(ways);
    if (bits >= kRarityBits) return true;
  }
  return false;
}

// While little is known, a sample says more than its like; in an excursion, which may be a change or tail, all do.
void Estimator::Expect() {
  const float residual = latency_.usual();
  if (residual <= 0 || fit_.samples() < kSamplesToDefer || pending_tail_.mean > 0) {
    expected_.times = 0;
    return;
  }
  expected_.base_ns = static_cast<float>(fit_.base_ns());
  expected_.ns_per_byte = static_cast<float>(fit_.ns_per_byte());
  const float octaves = Smaller(residual, kUsualMax);
  expected_.times = 1.0f + octaves * (0.62f + 0.44f * octaves);  // 2^octaves, nearly
}

// Not for every sample: each would have to wait for the one before. What waits is averaged with what is remembered: the
// more there is of it, the less each of its samples weighs.
void Estimator::MoveFactor(float samples, KeyState* key) const {
  const float waiting = Larger(0.0f, static_cast<float>(key->waiting()));
  const float remembered = Smaller(static_cast<float>(key->ratios.total()), KeyState::kFactorMemory + 0.5f * waiting);
  const float gain = samples > kFactorsFrom ? Smaller(kFactorGainMax, InverseOf(remembered + 4.0f)) : 0.0f;
  const float factor = key->inverse_factor * (1.0f - Between(-kMovedMax, gain * key->strayed, kMovedMax));
  key->inverse_factor = Between(0.25f, factor + waiting * kFactorLeak * (1.0f - factor), 4.0f);
  key->strayed = 0;
  key->ratios.Fade();
  key->moved_at = key->ratios.total();
}

void Estimator::MoveFactors(float samples, absl::Span<Key* const> keys) {
  batches_ = 0;
  for (Key* const key : keys) {
    if (key != nullptr && key->state.waiting() > 0) MoveFactor(samples, &key->state);
  }
}

// What an excursion cut off is tail once it has passed. Where it turns out to be a change, it was the new level:
// counted as tail, it would make what became slow look slower by a third for hundreds of samples.
void Estimator::SettleTail(float tail, bool restless) {
  last_tail_ = {tail, tail * tail};
  if (ABSL_PREDICT_TRUE(tail + pending_tail_.mean <= 0)) return AddTail(0, 1);
  pending_tail_.mean += last_tail_.mean;
  pending_tail_.square += last_tail_.square;
  const bool over = latency_.run(Change::kUp) == 0 || restless;
  last_tail_ = over ? std::exchange(pending_tail_, UsualTail()) : UsualTail();
  AddTail(last_tail_.mean, 1);
}

// Of so many samples together.
void Estimator::AddTail(float tail, uint32_t samples) {
  const auto of = static_cast<float>(samples);
  tail_samples_ = Smaller(tail_samples_ + of, 1.0f / kTailGain);
  if (tail + tail_ <= 0) return;
  const float gain = tail_samples_ < kTailSamplesFew ? InverseOf(tail_samples_ + 16.0f) : kTailGain;
  tail_ += gain * (tail - of * tail_);
  if (tail_ < kTailMin) tail_ = 0;
}

void Estimator::AddSquares(float squares, uint32_t samples) {
  squares_ += squares;
  squared_ += static_cast<float>(samples);
  if (ABSL_PREDICT_TRUE(squared_ < kLongMemory)) return;
  squares_ *= 0.5f;
  squared_ *= 0.5f;
}

void Estimator::AddFirst(double bytes, double latency_ns) {
  // Half of it is the base. What a small transfer takes says nothing of long ones: these are taken for fast until they
  // are tried, since what is taken for slow never is.
  fit_.Seed(latency_ns / 2, latency_ns / 2 / std::max(bytes, kSeedBytesMin), 0.25);
}

// The level is in doubt, the spread is not: how far this sample is off says where the level is now, and nothing of how
// far the next one will be off. (The update step of a Kalman filter, over log2 of the cost.)
void Estimator::MoveLevel(double bytes, double latency_ns) {
  const double spread = kLog2E * kLog2E * variance_;
  const double gain = doubt_ / (doubt_ + spread);
  const double residual = Log2(latency_ns / fit_.At(bytes));
  fit_.Rescale(Exp2(gain * residual), std::min(fit_.samples(), spread / doubt_));
  doubt_ = 0;
}

void Estimator::Seed(double base_ns, double ns_per_byte, double samples) {
  fit_.Seed(base_ns, ns_per_byte, samples);
  Expect();
}

void Estimator::AddFailure() { reliability_ -= kFailureGain * reliability_; }

// The detector says how many samples ago the excursion began: their median is the new level. A median, so that an
// outlier among them does no harm.
void Estimator::StartOver(Change direction, RatioHistogram* histogram) {
  float log2_ratios[kRecent];
  const uint32_t excursion = Excursion(direction, log2_ratios);
  for (uint32_t i = 0; i < excursion; ++i) histogram->Remove(log2_ratios[i]);
  const uint32_t count = std::min(excursion, kNewStart);
  float ratios[kNewStart] = {};
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t at = (recent_next_ - deferred_ - 1 - i) % kRecent;
    ratios[i] = recent_ns_[at] / static_cast<float>(fit_.At(recent_bytes_[at]));
  }
  std::sort(ratios, ratios + count);
  last_shift_ = ratios[count / 2];
  fit_.Rescale(last_shift_, 0.5 * count);
  // The spread, too, is that around the new level; before it is known, as it was around the old one.
  float squares = kSpreadSamples * latency_.variance() / (kLog2E * kLog2E);
  for (uint32_t i = 0; i < count; ++i) {
    const float deviation = std::min(ratios[i] / last_shift_, kRatioMax) - 1.0f;
    squares += deviation * deviation;
  }
  variance_ = squares / (kSpreadSamples + static_cast<float>(count));
  squares_ = squared_ = 0;
  pending_tail_ = UsualTail();
  latency_.Restart(LatencyDetector::kWarmUp);
  if (direction == Change::kUp) {
    retransmits_.RestartSums();
  } else {
    retransmits_.Restart();
  }
}

float Estimator::Log2P99OverCost(const KeyState& key) const {
  return key.ratios.Quantile(0.99f, kQuantileSamplesMin, Log2P99OverCost()) - static_cast<float>(Log2(1.0 + tail_));
}

void Estimator::Age(float log2_variance) {
  if (!fit_.seeded()) return;
  const double spread = kLog2E * kLog2E * variance_;
  const double samples = spread / (spread / (fit_.samples() + 0.25) + log2_variance);
  if (samples >= 0.8 * fit_.samples()) return;
  fit_.Rescale(1.0, std::max(samples, 0.25));
  retransmits_.Restart();
  Expect();
}

void Estimator::Scale(double factor) {
  fit_.Rescale(factor, fit_.samples());
  Expect();
}

void Estimator::Doubt(float log2_variance) {
  if (!fit_.seeded()) return;
  doubt_ = std::max(doubt_, log2_variance);
  if (log2_variance >= kDoubtOfLevel && fit_.samples() > 0.5) fit_.Rescale(1.0, 0.5);
  pending_tail_ = UsualTail();
  retransmits_.Restart();
  latency_.Restart(LatencyDetector::kWarmUp);
  expected_.times = 0;
}

}  // namespace mcp::internal
