// MCP_ASSERT(condition): states what the programmer owes. Debug builds print and abort; release builds (NDEBUG) do not
// evaluate it. Never for what a peer, a device or a user can cause: that is a Status.
#ifndef MCP_LIB_BASE_ASSERT_H_
#define MCP_LIB_BASE_ASSERT_H_

#ifdef NDEBUG
// The condition is still compiled, so that what it names is used.
#define MCP_ASSERT(condition) static_cast<void>(false && (condition))
#else
#define MCP_ASSERT(condition) \
  ((condition) ? static_cast<void>(0) : ::mcp::internal::AssertFailed(#condition, __FILE__, __LINE__))
#endif

namespace mcp::internal {

[[noreturn]] void AssertFailed(const char* condition, const char* file, int line);

}  // namespace mcp::internal

#endif  // MCP_LIB_BASE_ASSERT_H_
