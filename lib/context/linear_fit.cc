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

void LinearFit::AddAll(const float* bytes, const float* latencies_ns, uint32_t newest, double memory, float* ratios) {
  const auto base_ns = static_cast<float>(base_ns_);
  const auto ns_per_byte = static_cast<float>(ns_per_byte_);
  Float4 r00{}, r01{}, r11{}, q0{}, q1{};
  for (uint32_t i = 0; i < kBatch; i += 4) {
    const Float4 size = Load4(bytes + i);
    const Float4 inverse = 1.0f / (base_ns + ns_per_byte * size);
    const Float4 x = size * inverse;
    const Float4 ratio = Load4(latencies_ns + i) * inverse;
    r00 += inverse * inverse;
    r01 += inverse * x;
    r11 += x * x;
    q0 += inverse * ratio;
    q1 += x * ratio;
    Store4(ratio, ratios + i);
  }
  const double before = At(bytes[newest]);
  const double keep = samples_ < memory ? 1.0 : 1.0 - kBatch / memory;
  samples_ = keep * samples_ + kBatch;
  r00_ = keep * r00_ + scale_ * static_cast<double>(SumOf(r00));
  r01_ = keep * r01_ + scale_ * static_cast<double>(SumOf(r01));
  r11_ = keep * r11_ + scale_ * static_cast<double>(SumOf(r11));
  q0_ = keep * q0_ + scale_ * static_cast<double>(SumOf(q0));
  q1_ = keep * q1_ + scale_ * static_cast<double>(SumOf(q1));
  SolveAnew(bytes[newest], 1.0 / before);
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
