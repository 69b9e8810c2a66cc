// Sixteen samples at once: vectors as GCC and Clang have them on every machine. Each lane computes what a scalar would,
// to the bit, and sums are of lanes in a fixed order.
#ifndef MCP_LIB_CONTEXT_LANES_H_
#define MCP_LIB_CONTEXT_LANES_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

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

inline float SumOf(Float4 lanes) {
  const Float4 pairs = lanes + __builtin_shufflevector(lanes, lanes, 2, 3, 0, 1);
  return pairs[0] + pairs[1];
}

// One instruction each on x86, where a comparison and a choice are four.
inline Float4 Larger(Float4 a, Float4 b) {
#if defined(__SSE__)
  return _mm_max_ps(a, b);
#else
  return a > b ? a : b;
#endif
}

inline Float4 Smaller(Float4 a, Float4 b) {
#if defined(__SSE__)
  return _mm_min_ps(a, b);
#else
  return a < b ? a : b;
#endif
}

inline Float4 Between(float low, Float4 lanes, float high) {
  return Smaller(Larger(lanes, Float4{} + low), Float4{} + high);
}

// Log2 of each, within 1e-5; they are positive and normal.
inline Float4 Log2(Float4 lanes) {
  const auto bits = reinterpret_cast<Int4>(lanes);
  const Float4 exponent = __builtin_convertvector((bits >> 23) - 127, Float4);
  const Float4 t = reinterpret_cast<Float4>((bits & 0x7fffff) | 0x3f800000) - 1.0f;
  const Float4 square = t * t;
  const Float4 low = 1.4426814680651516f + t * -0.720358772675779f;
  const Float4 middle = 0.46865887914367105f + t * -0.30163800973500726f;
  const Float4 high = 0.14447109569877475f + t * -0.03382204596895592f;
  return exponent + t * (low + square * (middle + square * high));
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
