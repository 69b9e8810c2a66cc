// Has something changed? Two-sided cumulative sums (Page 1954): one over latencies, one over counts of retransmissions.
//
// An alarm says that a shift of the mean has gone on for a while; single outliers are clipped and cannot raise one.
// Plain values; a few nanoseconds a sample.
#ifndef MCP_LIB_CONTEXT_CHANGE_DETECTOR_H_
#define MCP_LIB_CONTEXT_CHANGE_DETECTOR_H_

#include <algorithm>
#include <cstdint>

#include "lib/context/lanes.h"
#include "lib/context/select.h"

namespace mcp::internal {

enum class Change : int8_t { kDown = -1, kNone = 0, kUp = 1 };

// Over residuals: log2(observed / predicted). Learns their centre and spread, robustly, as it goes.
class LatencyDetector {
 public:
  static constexpr float kClip = 4.0f;       // spreads that one residual may weigh at most
  static constexpr float kSlack = 1.0f;      // spreads by which the mean may drift unnoticed
  static constexpr float kAlarm = 11.0f;     // four samples of a large shift
  static constexpr uint32_t kExcursion = 4;  // samples for which a sum has stayed above zero
  static constexpr uint32_t kWarmUp = 12;    // samples before the first alarm
  static constexpr float kLearned = 3.0f;    // spreads; what is beyond teaches the averages no more than that
  static constexpr float kCalmEnough = 4.0f;

  Change Add(float residual) {
    const float deviation = residual - centre_;
    const float z = Between(-kClip, deviation * inverse_spread_, kClip);
    // Clipping at three spreads loses 3 % of a normal distribution's variance, more of a tailed one: tails are not what
    // a shift is measured against.
    const float learned = Between(-kLearned * spread_, deviation, kLearned * spread_);
    // The centre does not follow an excursion while it goes on: a shift that is small beside a spread that chance has
    // made large would become the centre before it is noticed. The spread does: of outliers in a row it is all that
    // tells.
    const bool steady = run_up_ + run_down_ < kExcursion || quiet_ > 0;
    centre_ += gain_ * learned * static_cast<float>(steady);
    variance_ = Larger(kVarianceMin, variance_ + gain_ * (learned * learned - variance_));
    if (--until_spread_ == 0) UpdateSpread();
    up_ = Larger(0.0f, up_ + (z - kSlack));
    down_ = Larger(0.0f, down_ - (z + kSlack));
    // Without branches: which way they would go is noise.
    run_up_ = (run_up_ + 1) * static_cast<uint32_t>(up_ > 0);
    run_down_ = (run_down_ + 1) * static_cast<uint32_t>(down_ > 0);
    if (Larger(up_, down_) <= kAlarm) {
      quiet_ -= static_cast<uint32_t>(quiet_ > 0);
      return Change::kNone;
    }
    return Beyond();
  }

  // How large a residual may be, either way, to be taken together with others; 0: none may. Such are no outliers, and
  // nothing is going on.
  float usual() const {
    const bool settled = seen_ == kFewSamples && quiet_ == 0 && Larger(up_, down_) <= kCalmEnough;
    return settled ? kClip * spread_ - (centre_ < 0 ? -centre_ : centre_) : 0;
  }
  // kBatch usual ones, of which the one at `oldest` came first, then the next and so on round the end. Averages move
  // once, the sums with each.
  Change AddUsual(const float* residuals, uint32_t oldest);

  float centre() const { return centre_; }
  float variance() const { return variance_; }
  float spread() const { return spread_; }
  // Samples of the excursion that is going on in this direction; 0: none.
  uint32_t run(Change direction) const { return direction == Change::kUp ? run_up_ : run_down_; }
  bool calm() const { return Larger(up_, down_) == 0; }

  // Forgets the sums, keeps the spread; no alarm before `warm_up` further samples.
  void Restart(uint32_t warm_up);

 private:
  Change Beyond();
  void UpdateSpread();

  static constexpr float kVarianceMin = 0.04f * 0.04f;

  static constexpr uint32_t kFewSamples = 60;  // the first teach faster
  static constexpr uint32_t kSeenAfterRestart = 12;
  static constexpr uint32_t kSpreadEvery = 8;  // samples: a square root and a division are worth saving

  float centre_ = 0;
  float variance_ = 0.25f;
  float spread_ = 0.5f;  // the root of the variance, some samples ago
  float inverse_spread_ = 2;
  float up_ = 0;
  float down_ = 0;
  uint32_t run_up_ = 0;
  uint32_t run_down_ = 0;
  uint32_t quiet_ = kWarmUp;  // samples to go before an alarm is possible
  uint32_t seen_ = 0;
  uint32_t until_spread_ = 1;  // samples
  float gain_ = 0.2f;          // of the averages
};

// Over counts per transfer: log-likelihood ratio of a Poisson rate that became four times as high, or a fourth.
class CountDetector {
 public:
  static constexpr float kAlarm = 9.0f;
  // That they became fewer: four transfers in a row without a loss are chance where there are two or three in each.
  static constexpr float kAlarmDown = 13.0f;
  // That one transfer may weigh: alone it is no alarm. What go-back-N sends again comes in bursts, which a Poisson rate
  // does not know.
  static constexpr uint32_t kCountMax = 4;

  // Of one transfer; or of several, if it is none.
  Change Add(uint32_t count, uint32_t transfers = 1) {
    if (count == 0 && silent_) return Change::kNone;
    return AddAny(count, transfers);
  }
  float rate() const { return rate_; }
  void Restart();
  // Latencies have changed: whether counts have, too, is still to be seen, and against the rate of before.
  void RestartSums() { up_ = down_ = 0; }

 private:
  Change AddAny(uint32_t count, uint32_t transfers);

  static constexpr uint32_t kSeenMin = 16;   // samples before the first alarm
  static constexpr uint32_t kSeenMax = 124;  // that an average is of
  static constexpr float kRateMin = 0.004f;
  static constexpr float kLog4 = 1.3862944f;

  float rate_ = kRateMin;
  float up_ = 0;
  float down_ = 0;
  uint32_t seen_ = 0;
  bool silent_ = false;  // and usually so: one more sample of nothing changes nothing
};

}  // namespace mcp::internal

#endif  // MCP_LIB_CONTEXT_CHANGE_DETECTOR_H_
