// 1 / n from a table: averages whose first samples weigh more need it every time, and a division takes longer than a
// load.
#ifndef MCP_LIB_CONTEXT_INVERSE_H_
#define MCP_LIB_CONTEXT_INVERSE_H_

#include <array>
#include <cstddef>
#include <cstdint>

namespace mcp::internal {

inline constexpr size_t kInverseMax = 264;
inline constexpr std::array<float, kInverseMax + 1> kInverse = [] {
  std::array<float, kInverseMax + 1> inverses{};
  inverses[0] = 1;
  for (size_t n = 1; n <= kInverseMax; ++n) inverses[n] = 1.0f / static_cast<float>(n);
  return inverses;
}();

// Of the whole part of `n`, which is at most kInverseMax.
inline float InverseOf(float n) { return kInverse[static_cast<size_t>(static_cast<int32_t>(n))]; }

}  // namespace mcp::internal

#endif  // MCP_LIB_CONTEXT_INVERSE_H_
