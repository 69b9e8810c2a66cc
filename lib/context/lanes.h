// Sixteen samples at once: vectors as GCC and Clang have them on every machine. Each lane computes what a scalar would,
// to the bit, and sums are of lanes in a fixed order.
#ifndef MCP_LIB_CONTEXT_LANES_H_
#define MCP_LIB_CONTEXT_LANES_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace mcp::internal {

inline constexpr uint32_t kBatch = 16;  // samples that are learned at once

using Float4 = float __attribute__((vector_size(16)));
using Int4 = int32_t __attribute__((vector_size(16)));

inline Float4 Load4(const float* from) {
  Float4 lanes;
  std::memcpy(&lanes, from, sizeof(lanes));
  return lanes;
}

inline void Store4(Float4 lanes, float* to) { std::memcpy(to, &lanes, sizeof(lanes)); }

inline float SumOf(Float4 lanes) { return (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]); }

inline Float4 Between(float low, Float4 lanes, float high) {
  const Float4 raised = lanes > low ? lanes : Float4{} + low;
  return raised < high ? raised : Float4{} + high;
}

// Log2Coarse of each.
inline Float4 Log2Coarse(Float4 lanes) {
  const auto bits = reinterpret_cast<Int4>(lanes);
  const Float4 exponent = __builtin_convertvector((bits >> 23) - 127, Float4);
  const Float4 t = reinterpret_cast<Float4>((bits & 0x7fffff) | 0x3f800000) - 1.0f;
  return exponent + t * ((1.4229f - t * 0.58208f) + t * t * 0.15918f);
}

}  // namespace mcp::internal

#endif  // MCP_LIB_CONTEXT_LANES_H_
