// How much cheaper a rival is than what is in use: all that single probes have shown since either changed.
//
// An estimate remembers some hundred samples, to follow a path that changes, so that its error has a floor: what is a
// few percent apart is never told apart by two of them. Here each probe is held against what the alternative in use was
// expected to take for the same size at that moment. The quotients are averaged for as long as nothing changes, so that
// their error goes on falling.
//
// Whoever looks at an average again and again, and stops when it likes what it sees, errs more often than a fixed
// sample would. So the bound is one that holds at all times together: Robbins' normal mixture, with the variance that
// was measured. Sources: Robbins, Statistical methods related to the law of the iterated logarithm, 1970; Howard,
// Ramdas, McAuliffe, Sekhon, Time-uniform nonparametric confidence sequences, 2021; for measured variances
// Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, Time-uniform central limit theory, 2021. (Wald's test of 1945 would
// need to be told the variance, and one gap to look for.)
//
// A plain value, a few additions a probe.
#ifndef MCP_LIB_CONTEXT_COMPARISON_H_
#define MCP_LIB_CONTEXT_COMPARISON_H_

#include <cmath>

#include "lib/context/log2.h"
#include "lib/context/select.h"

namespace mcp::internal {

class Comparison {
 public:
  static constexpr float kSamplesMin = 16;       // before it says anything
  static constexpr float kSamplesMax = 1 << 15;  // then all count half

  // A probe took so many times what was expected of the alternative in use.
  void Add(float ratio) {
    samples_ += 1;
    sum_ += ratio;
    squares_ += ratio * ratio;
    if (samples_ < kSamplesMax) return;
    samples_ *= 0.5f;
    sum_ *= 0.5f;
    squares_ *= 0.5f;
  }

  float samples() const { return samples_; }
  bool tells() const { return samples_ >= kSamplesMin; }
  float mean() const { return sum_ / samples_; }
  // Of a single ratio.
  float variance() const { return Larger(kVarianceMin, squares_ / samples_ - mean() * mean()); }

  // Square of how many standard errors the mean may be off, ever, but for one case of ten thousand.
  float ErrorsSquared() const {
    constexpr float kLn2 = 0.6931472f;
    const float mixed = 1.0f + samples_ / kMixture;
    return (1.0f + kMixture / samples_) * (kLn2 * Log2Coarse(mixed) + kTwoLnOfChances);
  }

 private:
  static constexpr float kVarianceMin = 1e-6f;
  static constexpr float kMixture = 32;                // tightest at some twenty times as many samples
  static constexpr float kTwoLnOfChances = 18.42068f;  // 2 ln 10^4

  float samples_ = 0;
  float sum_ = 0;
  float squares_ = 0;
};

// The verdict of a comparison, in log2 of the ratio of costs.
struct Gain {
  float gain = 0;    // that the rival is cheaper
  float radius = 0;  // how far that may be off, at any time; 0: not compared yet
};

}  // namespace mcp::internal

#endif  // MCP_LIB_CONTEXT_COMPARISON_H_
