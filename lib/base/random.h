// Seeded pseudo-random numbers: xoshiro256** (Blackman and Vigna, 2018), its state filled by splitmix64.
//
// The same seed gives the same numbers on every platform. Not for secrets that must resist cryptanalysis.
// A copyable value; a copy continues with the same numbers. Not thread-safe: give each thread a Fork().
#ifndef MCP_LIB_BASE_RANDOM_H_
#define MCP_LIB_BASE_RANDOM_H_

#include <cstdint>

namespace mcp::internal {

class Random {
 public:
  explicit Random(uint64_t seed);

  // Seeded with 256 bits from the kernel.
  static Random FromEntropy();

  uint64_t Next() {
    const uint64_t result = RotateLeft(state_[1] * 5, 7) * 9;
    const uint64_t shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = RotateLeft(state_[3], 45);
    return result;
  }

  // Uniform in [0, bound), without bias. `bound` must not be 0.
  uint64_t Below(uint64_t bound);

  // Uniform in [0, 1), with 53 random bits.
  double Unit() { return static_cast<double>(Next() >> 11) * 0x1.0p-53; }

  // An independent generator; this one moves on.
  Random Fork() { return Random(Next()); }

 private:
  static uint64_t RotateLeft(uint64_t value, int bits) { return (value << bits) | (value >> (64 - bits)); }

  uint64_t state_[4];
};

}  // namespace mcp::internal

#endif  // MCP_LIB_BASE_RANDOM_H_
