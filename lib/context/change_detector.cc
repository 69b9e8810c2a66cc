#include "lib/context/change_detector.h"

#include <cmath>

#include "lib/context/inverse.h"

namespace mcp::internal {

Change LatencyDetector::Beyond() {
  if (quiet_ > 0) {
    --quiet_;
    return Change::kNone;
  }
  return up_ > kAlarm ? Change::kUp : Change::kDown;
}

// Upwards and downwards side by side. What each sample adds to the two sums is laid out twice, so that from the oldest
// on it lies in a row; of the four lanes that are summed the last two are the next sample's, and nobody's.
Change LatencyDetector::AddUsual(const float* residuals, uint32_t oldest) {
  const float most = kLearned * spread_;
  float steps[4 * kBatch];
  Float4 learned{};
  Float4 squares{};
  for (uint32_t i = 0; i < kBatch; i += 4) {
    const Float4 deviations = Load4(residuals + i) - centre_;
    const Float4 scaled = deviations * inverse_spread_;
    const Float4 up = scaled - kSlack;
    const Float4 down = -scaled - kSlack;
    for (uint32_t copy = 0; copy < 2; ++copy) {
      float* const to = steps + 2 * (copy * kBatch + i);
      Store4(__builtin_shufflevector(up, down, 0, 4, 1, 5), to);
      Store4(__builtin_shufflevector(up, down, 2, 6, 3, 7), to + 4);
    }
    const Float4 teaching = Between(-most, deviations, most);
    learned += teaching;
    squares += teaching * teaching;
  }
  Float4 sums = {up_, down_, 0, 0};
  Int4 runs = {static_cast<int32_t>(run_up_), static_cast<int32_t>(run_down_), 0, 0};
  for (uint32_t i = 0; i < kBatch; ++i) {
    sums = Larger(sums + Load4(steps + 2 * (oldest + i)), Float4{});
    runs = (runs + 1) & (sums > 0.0f);
  }
  up_ = sums[0];
  down_ = sums[1];
  run_up_ = static_cast<uint32_t>(runs[0]);
  run_down_ = static_cast<uint32_t>(runs[1]);
  if (run_up_ + run_down_ < kExcursion) centre_ += gain_ * SumOf(learned);
  variance_ = Larger(kVarianceMin, variance_ + gain_ * (SumOf(squares) - kBatch * variance_));
  UpdateSpread();
  return Larger(up_, down_) <= kAlarm ? Change::kNone : Beyond();
}

// IEEE 754 defines the square root to the last bit.
void LatencyDetector::UpdateSpread() {
  until_spread_ = kSpreadEvery;
  if (seen_ < kFewSamples) {
    gain_ = kInverse[++seen_ + 4];
    until_spread_ = 1;
  }
  spread_ = std::sqrt(variance_);
  inverse_spread_ = 1.0f / spread_;
}

void LatencyDetector::Restart(uint32_t warm_up) {
  centre_ = 0;
  up_ = down_ = 0;
  run_up_ = run_down_ = 0;
  quiet_ = warm_up;
  seen_ = std::min(seen_, kSeenAfterRestart);
  until_spread_ = 1;
}

Change CountDetector::AddAny(uint32_t count, uint32_t transfers) {
  const auto seen = static_cast<float>(std::min(count, kCountMax));
  const auto of = static_cast<float>(transfers);
  up_ = std::max(0.0f, up_ + seen * kLog4 - 3.0f * of * rate_);
  // Nothing falls below the floor.
  down_ = rate_ <= kRateMin ? 0 : std::max(0.0f, down_ + 0.75f * of * rate_ - seen * kLog4);
  if (seen_ < kSeenMax) seen_ += transfers;
  rate_ = std::max(kRateMin, rate_ + kInverse[seen_ + 4] * (seen - of * rate_));
  silent_ = up_ == 0 && rate_ <= kRateMin && seen_ >= kSeenMin;
  if (seen_ < kSeenMin) {
    up_ = down_ = 0;
    return Change::kNone;
  }
  if (up_ > kAlarm) return Change::kUp;
  return down_ > kAlarmDown ? Change::kDown : Change::kNone;
}

void CountDetector::Restart() {
  up_ = down_ = 0;
  seen_ = 0;
  silent_ = false;
}

}  // namespace mcp::internal
