#include "lib/engine/memlock_registrar.h"

#include <sys/mman.h>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/base/units.h"
#include "lib/memory/memlock.h"

namespace mcp::internal {

absl::StatusOr<uint64_t> MemlockRegistrar::Register(absl::Span<std::byte> range) {
  MCP_RETURN_IF_ERROR(LockMemory(range.data(), range.size(), absl::StrCat("register ", FormatBytes(range.size()))));
  locked_.emplace(next_, range);
  return next_++;
}

// The range may be unmapped by now, which unlocks it as well: the result says nothing.
void MemlockRegistrar::Deregister(uint64_t handle) {
  const auto found = locked_.find(handle);
  munlock(found->second.data(), found->second.size());
  locked_.erase(found);
}

}  // namespace mcp::internal
