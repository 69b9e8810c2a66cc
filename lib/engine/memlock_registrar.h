// Registration for transports that need none of their own: pages are locked in memory, once however often they are
// asked for. Called by a RegistrationCache, which serialises the calls.
#ifndef MCP_LIB_ENGINE_MEMLOCK_REGISTRAR_H_
#define MCP_LIB_ENGINE_MEMLOCK_REGISTRAR_H_

#include <cstddef>
#include <cstdint>
#include <unordered_map>

#include "lib/memory/registration_cache.h"

namespace mcp::internal {

class MemlockRegistrar final : public Registrar {
 public:
  absl::StatusOr<uint64_t> Register(absl::Span<std::byte> range) override;
  void Deregister(uint64_t handle) override;

 private:
  std::unordered_map<uint64_t, absl::Span<std::byte>> locked_;
  uint64_t next_ = 1;
};

}  // namespace mcp::internal

#endif  // MCP_LIB_ENGINE_MEMLOCK_REGISTRAR_H_
