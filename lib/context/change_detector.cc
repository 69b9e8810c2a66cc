#include "lib/context/change_detector.h"

#include <cmath>

#include "lib/context/inverse.h"

namespace mcp::internal {

Change LatencyDetector::Add(float residual) {
  const float deviation = residual - centre_;
  const float z = std::clamp(deviation * inverse_spread_, -kClip, kClip);
  const float gain = seen_ < 60 ? kInverse[++seen_ + 4] : kGain;
  // Clipping at three spreads loses 3 % of a normal distribution's variance, more of a tailed one: tails are not what
  // a shift is measured against.
  const float learned = std::clamp(deviation, -3 * spread_, 3 * spread_);
  centre_ += gain * learned;
  variance_ = std::max(kVarianceMin, variance_ + gain * (learned * learned - variance_));
  if (seen_ < 60 || ++since_spread_ >= kSpreadEvery) UpdateSpread();
  up_ = std::max(0.0f, up_ + z - kSlack);
  down_ = std::max(0.0f, down_ - z - kSlack);
  // Without branches: which way they would go is noise.
  run_up_ = (run_up_ + 1) * static_cast<uint32_t>(up_ > 0);
  run_down_ = (run_down_ + 1) * static_cast<uint32_t>(down_ > 0);
  if (quiet_ > 0) {
    --quiet_;
    return Change::kNone;
  }
  if (up_ > kAlarm) return Change::kUp;
  return down_ > kAlarm ? Change::kDown : Change::kNone;
}

// IEEE 754 defines the square root to the last bit.
void LatencyDetector::UpdateSpread() {
  since_spread_ = 0;
  spread_ = std::sqrt(variance_);
  inverse_spread_ = 1.0f / spread_;
}

void LatencyDetector::Restart(uint32_t warm_up) {
  centre_ = 0;
  up_ = down_ = 0;
  run_up_ = run_down_ = 0;
  quiet_ = warm_up;
  seen_ = std::min(seen_, 12u);
}

Change CountDetector::AddAny(uint32_t count) {
  const auto seen = static_cast<float>(std::min(count, kCountMax));
  up_ = std::max(0.0f, up_ + seen * kLog4 - 3.0f * rate_);
  // Nothing falls below the floor.
  down_ = rate_ <= kRateMin ? 0 : std::max(0.0f, down_ + 0.75f * rate_ - seen * kLog4);
  const float gain = seen_ < 124 ? kInverse[++seen_ + 4] : 1.0f / 128;
  rate_ = std::max(kRateMin, rate_ + gain * (seen - rate_));
  if (seen_ < 16) {
    up_ = down_ = 0;
    return Change::kNone;
  }
  if (up_ > kAlarm) return Change::kUp;
  return down_ > kAlarm ? Change::kDown : Change::kNone;
}

void CountDetector::Restart() {
  up_ = down_ = 0;
  seen_ = 0;
}

}  // namespace mcp::internal
