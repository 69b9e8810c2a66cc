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

Change CountDetector::AddAny(uint32_t count) {
  const auto seen = static_cast<float>(std::min(count, kCountMax));
  up_ = std::max(0.0f, up_ + seen * kLog4 - 3.0f * rate_);
  // Nothing falls below the floor.
  down_ = rate_ <= kRateMin ? 0 : std::max(0.0f, down_ + 0.75f * rate_ - seen * kLog4);
  const float gain = seen_ < 124 ? kInverse[++seen_ + 4] : 1.0f / 128;
  rate_ = std::max(kRateMin, rate_ + gain * (seen - rate_));
  silent_ = up_ == 0 && rate_ <= kRateMin && seen_ >= kSeenMin;
  if (seen_ < kSeenMin) {
    up_ = down_ = 0;
    return Change::kNone;
  }
  if (up_ > kAlarm) return Change::kUp;
  return down_ > kAlarm ? Change::kDown : Change::kNone;
}

void CountDetector::Restart() {
  up_ = down_ = 0;
  seen_ = 0;
  silent_ = false;
}

}  // namespace mcp::internal
