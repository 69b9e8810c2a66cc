// Larger, smaller, between: without branches, which on noise are mispredicted every other time.
//
// std::max and std::clamp return references, which compilers turn into jumps; and where they see through a comparison
// they still may. On x86 it is said outright.
#ifndef MCP_LIB_CONTEXT_SELECT_H_
#define MCP_LIB_CONTEXT_SELECT_H_

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace mcp::internal {

inline float Larger(float a, float b) {
#ifdef __SSE2__
  return _mm_cvtss_f32(_mm_max_ss(_mm_set_ss(a), _mm_set_ss(b)));
#else
  return a > b ? a : b;
#endif
}

inline float Smaller(float a, float b) {
#ifdef __SSE2__
  return _mm_cvtss_f32(_mm_min_ss(_mm_set_ss(a), _mm_set_ss(b)));
#else
  return a < b ? a : b;
#endif
}

inline float Between(float low, float value, float high) { return Smaller(Larger(low, value), high); }

}  // namespace mcp::internal

#endif  // MCP_LIB_CONTEXT_SELECT_H_
