#include "lib/context/linear_fit.h"

#include <algorithm>

namespace mcp::internal {
namespace {

// Where neither a base nor a cost per byte is known to be anything, they are at least this.
constexpr double kBaseNsMin = 1.0;
constexpr double kNsPerByteMin = 1e-6;

}  // namespace

void LinearFit::SetPrior(double base_ns, double ns_per_byte) {
  base_ns = std::max(base_ns, kBaseNsMin);
  ns_per_byte = std::max(ns_per_byte, kNsPerByteMin);
  prior00_ = kPrior / (base_ns * base_ns);
  prior11_ = kPrior / (ns_per_byte * ns_per_byte);
  prior_q0_ = kPrior / base_ns;
  prior_q1_ = kPrior / ns_per_byte;
}

void LinearFit::Seed(double base_ns, double ns_per_byte, double samples) {
  seeded_ = true;
  scale_ = 1;
  samples_ = samples;
  base_ns_ = std::max(base_ns, kBaseNsMin);
  ns_per_byte_ = std::max(ns_per_byte, kNsPerByteMin);
  // As if half of them had been tiny and half of them long.
  r00_ = 0.5 * samples / (base_ns_ * base_ns_);
  r11_ = 0.5 * samples / (ns_per_byte_ * ns_per_byte_);
  r01_ = 0;
  q0_ = r00_ * base_ns_;
  q1_ = r11_ * ns_per_byte_;
  SetPrior(base_ns_, ns_per_byte_);
}

void LinearFit::Rescale(double factor, double samples) {
  if (samples_ <= 0) return Seed(base_ns_ * factor, ns_per_byte_ * factor, samples);
  // Weights are relative, so a scaled latency leaves y alone and shrinks the regressors.
  Renormalize();
  const double weight = samples / samples_;
  const double inverse = 1.0 / factor;
  r00_ *= weight * inverse * inverse;
  r01_ *= weight * inverse * inverse;
  r11_ *= weight * inverse * inverse;
  q0_ *= weight * inverse;
  q1_ *= weight * inverse;
  samples_ = samples;
  SetPrior(base_ns_ * factor, ns_per_byte_ * factor);
  Solve();
}

void LinearFit::Renormalize() {
  const double inverse = 1.0 / scale_;
  r00_ *= inverse;
  r01_ *= inverse;
  r11_ *= inverse;
  q0_ *= inverse;
  q1_ *= inverse;
  scale_ = 1;
  SetPrior(base_ns_, ns_per_byte_);
}

double LinearFit::Leverage(double bytes) const {
  const double r00 = r00_ + prior00_;
  const double r11 = r11_ + prior11_;
  const double at = At(bytes);
  return scale_ * (r11 - 2 * r01_ * bytes + r00 * bytes * bytes) / ((r00 * r11 - r01_ * r01_) * at * at);
}

void LinearFit::SolveAtBound(double r00, double r11, double q0, double q1) {
  if (base_ns_ < 0) {
    base_ns_ = 0;
    ns_per_byte_ = q1 / r11;
  } else {
    base_ns_ = q0 / r00;
    ns_per_byte_ = 0;
  }
}

}  // namespace mcp::internal
