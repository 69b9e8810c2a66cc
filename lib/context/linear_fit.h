// latency = a + b x bytes, fitted by recursive least squares with exponential forgetting.
//
// Kept in information form (a 2x2 matrix and a vector of sums) rather than as a covariance: a weak prior that is not
// forgotten keeps it solvable when all transfers have one size, where a covariance would grow without bound (wind-up).
// Errors are relative: each sample is weighted by 1 / predicted^2, so that small transfers count as much as large ones.
// As the prediction moves, samples that were weighted by the old one are brought up to date (`scale_`): otherwise a
// path that became four times as slow would be believed a sixteenth. Source: Ljung, System Identification, 2nd
// ed., 11.2.
//
// Two multiplications and a sum for each of five sums a sample; the solution, which needs a division, is found for
// every sample while there are few, then for every fourth. A plain value.
#ifndef MCP_LIB_CONTEXT_LINEAR_FIT_H_
#define MCP_LIB_CONTEXT_LINEAR_FIT_H_

#include "lib/context/lanes.h"

namespace mcp::internal {

class LinearFit {
 public:
  // Starts from a guess that counts as `samples` samples (and, for ever, as kPrior of one).
  void Seed(double base_ns, double ns_per_byte, double samples);
  bool seeded() const { return seeded_; }

  // `inverse` is 1 / At(bytes), and `ratio` the latency times that. Older samples are kept by a factor that lets about
  // `memory` of them count.
  void Add(double bytes, double ratio, double inverse, double memory) {
    const double keep = samples_ < memory ? 1.0 : 1.0 - 1.0 / memory;
    const double x = bytes * inverse;
    const double weight = inverse * scale_;
    const double weight_x = x * scale_;
    samples_ = keep * samples_ + 1.0;
    r00_ = keep * r00_ + weight * inverse;
    r01_ = keep * r01_ + weight * x;
    r11_ = keep * r11_ + weight_x * x;
    q0_ = keep * q0_ + weight * ratio;
    q1_ = keep * q1_ + weight_x * ratio;
    if (samples_ > kSolveAlways && ++unsolved_ < kSolveEvery) return;
    SolveAnew(bytes, inverse);
  }

  // kBatch samples that weigh alike, solved for once; the newest is at `newest`. Gives their `ratios` of latency to
  // what was predicted.
  void AddAll(const float* bytes, const float* latencies_ns, uint32_t newest, double memory, float* ratios);

  double At(double bytes) const { return base_ns_ + ns_per_byte_ * bytes; }
  double base_ns() const { return base_ns_; }
  double ns_per_byte() const { return ns_per_byte_; }
  double samples() const { return samples_; }  // those that still count

  // Variance of the prediction, relative to it squared, for samples of relative variance 1: about 1 / samples at sizes
  // that were seen, more the further away.
  double Leverage(double bytes) const {
    const double r00 = r00_ + prior00_;
    const double r11 = r11_ + prior11_;
    const double at = At(bytes);
    return scale_ * (r11 - 2 * r01_ * bytes + r00 * bytes * bytes) / ((r00 * r11 - r01_ * r01_) * at * at);
  }

  // Everything became `factor` times as slow, as far as `samples` samples can tell.
  void Rescale(double factor, double samples);

 private:
  static constexpr double kPrior = 0.02;
  static constexpr double kScaleMax = 2;
  static constexpr double kSolveAlways = 32;  // samples
  static constexpr int kSolveEvery = 4;

  // `inverse` is 1 / At(bytes) as it was.
  void SolveAnew(double bytes, double inverse) {
    unsolved_ = 0;
    Solve();
    const double moved = At(bytes) * inverse;
    scale_ *= moved * moved;
    if (scale_ > kScaleMax || scale_ < 1 / kScaleMax) Renormalize();
  }
  void Solve() {
    const double r00 = r00_ + prior00_;
    const double r11 = r11_ + prior11_;
    const double q0 = q0_ + prior_q0_;
    const double q1 = q1_ + prior_q1_;
    const double inverse = 1.0 / (r00 * r11 - r01_ * r01_);
    base_ns_ = (q0 * r11 - q1 * r01_) * inverse;
    ns_per_byte_ = (r00 * q1 - r01_ * q0) * inverse;
    if (base_ns_ < 0 || ns_per_byte_ < 0) SolveAtBound(r00, r11, q0, q1);
  }
  void SolveAtBound(double r00, double r11, double q0, double q1);
  void Renormalize();
  void SetPrior(double base_ns, double ns_per_byte);

  double base_ns_ = 0;
  double ns_per_byte_ = 0;
  double samples_ = 0;
  double scale_ = 1;  // what 1 / predicted^2 is multiplied with, to be comparable with the sums
  double r00_ = 0, r01_ = 0, r11_ = 0, q0_ = 0, q1_ = 0;
  double prior00_ = 0, prior11_ = 0, prior_q0_ = 0, prior_q1_ = 0;
  bool seeded_ = false;
  int unsolved_ = 0;  // samples since the last solution
};

}  // namespace mcp::internal

#endif  // MCP_LIB_CONTEXT_LINEAR_FIT_H_
