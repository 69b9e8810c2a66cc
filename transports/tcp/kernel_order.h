// Tells ThreadSanitizer what it cannot see when both ends of a connection are in one process: what was done before
// bytes were sent happened before what is done after they came. Nothing in other builds.
#ifndef MCP_TRANSPORTS_TCP_KERNEL_ORDER_H_
#define MCP_TRANSPORTS_TCP_KERNEL_ORDER_H_

#include "transports/tcp/connection.h"

#if defined(__SANITIZE_THREAD__)
#define MCP_THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define MCP_THREAD_SANITIZER 1
#endif
#endif

#if defined(MCP_THREAD_SANITIZER)
#include <cstddef>
#include <functional>
#include <string_view>

extern "C" void __tsan_acquire(void* address);
extern "C" void __tsan_release(void* address);
#endif

namespace mcp::internal {

#if defined(MCP_THREAD_SANITIZER)

// One for both ends: they know the same two addresses, the other way round.
inline void* KernelOrderOf(const Connection& connection) {
  static char cells[4096];
  const auto hash = [](const SocketAddress& address) {
    return std::hash<std::string_view>()({reinterpret_cast<const char*>(&address.storage), address.length});
  };
  return &cells[(hash(connection.local) + hash(connection.remote)) % sizeof(cells)];
}
inline void BeforeSend(const Connection& connection) { __tsan_release(KernelOrderOf(connection)); }
inline void AfterReceive(const Connection& connection) { __tsan_acquire(KernelOrderOf(connection)); }

#else

inline void BeforeSend(const Connection&) {}
inline void AfterReceive(const Connection&) {}

#endif

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_TCP_KERNEL_ORDER_H_
