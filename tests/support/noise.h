// Random latencies for tests and simulations, the same bits on every machine: no libm.
#ifndef MCP_TESTS_SUPPORT_NOISE_H_
#define MCP_TESTS_SUPPORT_NOISE_H_

#include "lib/base/random.h"
#include "lib/context/log2.h"

namespace mcp::internal {

// Standard normal: the sum of twelve uniforms (Irwin-Hall). No tail beyond 6, which is what tails are added for.
inline double Normal(Random* random) {
  double sum = -6;
  for (int i = 0; i < 12; ++i) sum += random->Unit();
  return sum;
}

// Median 1; `spread` is the standard deviation of log2.
inline double LogNormal(Random* random, double spread) { return Exp2(spread * Normal(random)); }

}  // namespace mcp::internal

#endif  // MCP_TESTS_SUPPORT_NOISE_H_
