// How often a path changes, learned from how often it did: it says how far what was measured once may be off by now.
//
// Two parts. What was seen lately a transfer, which counts for all the time since the measurement. And what may have
// happened unseen, which goes by the logarithm of the time since the last change that was seen: what has lasted long is
// taken to last. So what is not used is looked at again after times that grow by a constant factor, and all these looks
// cost as much as the logarithm of the number of transfers. That is the order of the least which can be: any policy
// that finds the best wherever it is pays so much where it began with the best (Lai and Robbins, Asymptotically
// efficient adaptive allocation rules, 1985). From kQuietMax on they come at a steady, low rate.
//
// A plain value; time is counted in transfers.
#ifndef MCP_LIB_CONTEXT_CHANGE_RATE_H_
#define MCP_LIB_CONTEXT_CHANGE_RATE_H_

#include <algorithm>

namespace mcp::internal {

class ChangeRate {
 public:
  void Pass(float transfers) {
    time_ = std::min(time_ + transfers, kMemory);
    quiet_ = std::min(quiet_ + transfers, kQuietMax);
    seen_ -= transfers / Remembered() * seen_;
    if (seen_ < kSeenMin) seen_ = 0;
    unseen_ += static_cast<double>(transfers * kUnseen / (kQuietBefore + quiet_));
  }

  // `weight`: 1 for what an alarm told; less for what has moved so slowly that none was raised.
  void Count(float weight) {
    seen_ += weight / Remembered();
    quiet_ = 0;
  }

  // By how much log2 of a cost that was measured `age` transfers ago, when `unseen` was so much, may have wandered:
  // variance.
  float Wandered(float age, double unseen_then) const {
    return kVariancePerChange * (seen_ * age + static_cast<float>(unseen_ - unseen_then));
  }
  double unseen() const { return unseen_; }
  float quiet() const { return quiet_; }

 private:
  static constexpr float kMemory = 32'000;    // for what was seen
  static constexpr float kTimeBefore = 1000;  // without a change: what is seen early says little of the rate
  static constexpr float kSeenMin = 1e-9f;    // no denormals
  static constexpr float kUnseen = 0.05f;     // changes, in e times the quiet time
  static constexpr float kQuietBefore = 300;
  static constexpr float kQuietMax = 50'000;
  static constexpr float kVariancePerChange = 1.5f;  // a fourfold change has one of 4

  float Remembered() const { return std::min(kTimeBefore + time_, kMemory); }

  float time_ = 0;     // that has passed
  float quiet_ = 0;    // that has passed since the last change that was seen
  float seen_ = 0;     // changes a transfer
  double unseen_ = 0;  // changes, in all
};

}  // namespace mcp::internal

#endif  // MCP_LIB_CONTEXT_CHANGE_RATE_H_
