#include "lib/context/ratio_histogram.h"

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

void RatioHistogram::Halve() {
  total_ = 0;
  for (uint16_t& count : counts_) total_ += count /= 2;
}

}  // namespace mcp::internal
