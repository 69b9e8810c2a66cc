// Registration for transports that need none of their own: pages are locked in memory. The kernel does not count who
// locks a page, so it is unlocked when the last range that has it goes. Thread rule: any thread.
#ifndef MCP_LIB_ENGINE_MEMLOCK_REGISTRAR_H_
#define MCP_LIB_ENGINE_MEMLOCK_REGISTRAR_H_

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <unordered_map>

#include "lib/memory/registration_cache.h"

namespace mcp::internal {

class MemlockRegistrar final : public Registrar {
 public:
  absl::StatusOr<uint64_t> Register(absl::Span<std::byte> range) override;
  void Deregister(uint64_t handle) override;

 private:
  void Unlock(absl::Span<std::byte> range);  // with mutex_ held: but for what others have

  std::mutex mutex_;
  std::unordered_map<uint64_t, absl::Span<std::byte>> locked_;  // or about to be
  uint64_t next_ = 1;
};

}  // namespace mcp::internal

#endif  // MCP_LIB_ENGINE_MEMLOCK_REGISTRAR_H_
