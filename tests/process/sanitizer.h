// Which sanitizer this is built with: some measurements mean nothing under one.
#ifndef MCP_TESTS_PROCESS_SANITIZER_H_
#define MCP_TESTS_PROCESS_SANITIZER_H_

#ifndef __has_feature
#define __has_feature(feature) 0
#endif

namespace mcp::internal {

#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
inline constexpr bool kUnderAddressSanitizer = true;
#else
inline constexpr bool kUnderAddressSanitizer = false;
#endif

#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
inline constexpr bool kUnderThreadSanitizer = true;
#else
inline constexpr bool kUnderThreadSanitizer = false;
#endif

}  // namespace mcp::internal

#endif  // MCP_TESTS_PROCESS_SANITIZER_H_
