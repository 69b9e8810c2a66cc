// Larger, smaller, between: without branches, which on noise are mispredicted every other time.
//
// std::max and std::clamp return references, which compilers turn into jumps; and where they see through a comparison
// they still may. On x86 it is said outright, and not by intrinsics: these make vectors of their arguments, of which
// each costs an instruction or two (of a sample, 50 of 460 were those).
#ifndef MCP_LIB_CONTEXT_SELECT_H_
#define MCP_LIB_CONTEXT_SELECT_H_

namespace mcp::internal {

inline float Larger(float a, float b) {
#if defined(__AVX__)
  float larger;
  __asm__("vmaxss %2, %1, %0" : "=x"(larger) : "x"(a), "xm"(b));
  return larger;
#elif defined(__SSE2__)
  __asm__("maxss %1, %0" : "+x"(a) : "xm"(b));
  return a;
#else
  return a > b ? a : b;
#endif
}

inline float Smaller(float a, float b) {
#if defined(__AVX__)
  float smaller;
  __asm__("vminss %2, %1, %0" : "=x"(smaller) : "x"(a), "xm"(b));
  return smaller;
#elif defined(__SSE2__)
  __asm__("minss %1, %0" : "+x"(a) : "xm"(b));
  return a;
#else
  return a < b ? a : b;
#endif
}

inline float Between(float low, float value, float high) { return Smaller(Larger(low, value), high); }

}  // namespace mcp::internal

#endif  // MCP_LIB_CONTEXT_SELECT_H_
