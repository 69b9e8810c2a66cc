#include "lib/context/ratio_histogram.h"

#include <algorithm>

#include "lib/context/log2.h"

namespace mcp::internal {

float RatioHistogram::Quantile(float share, uint32_t needed, float otherwise) const {
  if (total_ < needed) return otherwise;
  const float above_max = (1.0f - share) * static_cast<float>(total_);
  uint32_t above = 0;
  for (int i = kBuckets - 1; i > 0; --i) {
    above += counts_[i];
    if (static_cast<float>(above) > above_max) return kLowest + static_cast<float>(i + 1) / kPerOctave;
  }
  return kLowest + 1.0f / kPerOctave;
}

float RatioHistogram::Rarity(float log2_ratio, bool up, uint32_t without) const {
  const int bucket = BucketOf(log2_ratio);
  uint32_t beyond = 0;
  for (int i = up ? bucket : 0; i < (up ? kBuckets : bucket + 1); ++i) beyond += counts_[i];
  const auto others = static_cast<float>(beyond - std::min(beyond, without));
  // One more than were seen: what has never been may still be chance.
  return Log2Coarse(static_cast<float>(total_ + 1)) - Log2Coarse(others + 1.0f);
}

void RatioHistogram::Remove(float log2_ratio) {
  uint16_t& count = counts_[BucketOf(log2_ratio)];
  if (count == 0) return;  // it was halved, or is of another size
  --count;
  --total_;
}

void RatioHistogram::Halve() {
  total_ = 0;
  for (uint16_t& count : counts_) total_ += count /= 2;
}

}  // namespace mcp::internal
