// How far latencies stray from what was predicted: counts of observed / predicted, four buckets an octave, from 1/4 to
// 64. Halved when it is full, so that old samples fade. 64 bytes of counts, a plain value.
#ifndef MCP_LIB_CONTEXT_RATIO_HISTOGRAM_H_
#define MCP_LIB_CONTEXT_RATIO_HISTOGRAM_H_

#include <cstdint>

#include "lib/context/lanes.h"
#include "lib/context/select.h"

namespace mcp::internal {

class RatioHistogram {
 public:
  static constexpr int kPerOctave = 4;
  static constexpr int kLowest = -2;       // log2 of the lowest bucket's start
  static constexpr int kBuckets = 32;      // up to log2 = 6; more counts as that
  static constexpr uint32_t kFull = 8192;  // samples

  // Whoever adds also calls Fade, not for every sample: a count holds 65,535.
  void Add(float log2_ratio) { AddTo(BucketOf(log2_ratio)); }
  // The buckets of ratios that lie within the histogram, and what counts there.
  static Int4 BucketsOf(Float4 log2_ratios) {
    return __builtin_convertvector((log2_ratios - kLowest) * kPerOctave, Int4);
  }
  void AddTo(int bucket) {
    ++total_;
    ++counts_[bucket];
  }
  void Fade() {
    if (total_ >= kFull) Halve();
  }

  uint32_t total() const { return total_; }
  // In bits: how seldom a ratio was as far up (or down) as this, if `without` of those that were are left out.
  float Rarity(float log2_ratio, bool up, uint32_t without) const;
  // Takes one back.
  void Remove(float log2_ratio);

  // The end of the bucket in which the quantile lies, as log2. `otherwise` if it stands on fewer than `needed` samples.
  float Quantile(float share, uint32_t needed, float otherwise) const;

 private:
  static int BucketOf(float log2_ratio) {
    return static_cast<int>(Between(0.0f, (log2_ratio - kLowest) * kPerOctave, static_cast<float>(kBuckets - 1)));
  }
  void Halve();

  uint32_t total_ = 0;
  uint16_t counts_[kBuckets] = {};
};

}  // namespace mcp::internal

#endif  // MCP_LIB_CONTEXT_RATIO_HISTOGRAM_H_
