// What an alternative is expected to cost, and how far that may be off: from what its estimator has learned.
//
// The same formula for one alternative, in scalars, and for four at once, in lanes: a decision asks for all of them.
#ifndef MCP_LIB_CONTEXT_COST_H_
#define MCP_LIB_CONTEXT_COST_H_

#include <cstdint>

#include "lib/context/lanes.h"

namespace mcp::internal {

// What is cut off from latencies, over all of a peer's transfers, in units of what was predicted.
struct UsualTail {
  float mean = 0;
  float square = 0;  // mean of the squares
};

template <class Real>
struct CostTerms {
  Real line_ns;         // what the fit says
  Real inverse_factor;  // the size class costs 1 / this times that
  Real class_samples;   // which the factor stands on
  Real tail;            // mean of what was cut off, in units of the prediction
  Real tail_samples;
  Real variance;  // of a latency's ratio to its prediction
  Real leverage;  // of the fit
  Real doubt;     // variance of log2 of the cost that the samples do not account for

  // Expected nanoseconds, tails included. Tails are rare, so an alternative that was used seldom has hardly seen its
  // own: as far as that goes it is charged with the usual one.
  Real Ns(const UsualTail& usual) const { return line_ns * TailFactor(usual) / inverse_factor; }
  Real TailFactor(const UsualTail& usual) const {
    const Real own = tail_samples * TailShare();
    return 1.0f + usual.mean + own * (tail - usual.mean);
  }

  // Square of the standard error of log2 of the cost, less what age adds.
  Real Log2ErrorSquared(const UsualTail& usual) const {
    return kLog2E * kLog2E * (variance * leverage + TailVariance(usual)) + doubt +
           kUnseenClassVariance / (1.0f + class_samples);
  }
  // How far its own tail may be off, by chance: few of many make it. Relative to the cost, squared.
  Real TailVariance(const UsualTail& usual) const {
    const float spread = usual.square / (2 * (1.0f + usual.mean) * (1.0f + usual.mean));
    return tail_samples * TailShare() * TailShare() * spread;
  }

 private:
  static constexpr float kLog2E = 1.442695f;
  static constexpr float kTailSamplesTrusted = 1000;
  static constexpr float kUnseenClassVariance = 0.05f;  // of log2: a size class whose factor is not known

  Real TailShare() const { return 1.0f / (tail_samples + kTailSamplesTrusted); }
};

// One of four.
inline void SetLane(uint32_t lane, const CostTerms<float>& terms, CostTerms<Float4>* four) {
  four->line_ns[lane] = terms.line_ns;
  four->inverse_factor[lane] = terms.inverse_factor;
  four->class_samples[lane] = terms.class_samples;
  four->tail[lane] = terms.tail;
  four->tail_samples[lane] = terms.tail_samples;
  four->variance[lane] = terms.variance;
  four->leverage[lane] = terms.leverage;
  four->doubt[lane] = terms.doubt;
}

}  // namespace mcp::internal

#endif  // MCP_LIB_CONTEXT_COST_H_
