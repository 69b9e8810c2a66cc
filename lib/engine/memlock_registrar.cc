#include "lib/engine/memlock_registrar.h"

#include <sys/mman.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/base/units.h"
#include "lib/memory/memlock.h"

namespace mcp::internal {

// Known before it is locked: who unlocks a part of it at that moment leaves it alone.
absl::StatusOr<uint64_t> MemlockRegistrar::Register(absl::Span<std::byte> range) {
  uint64_t handle;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    handle = next_++;
    locked_.emplace(handle, range);
  }
  absl::Status locked = LockMemory(range.data(), range.size(), absl::StrCat("register ", FormatBytes(range.size())));
  if (locked.ok()) return handle;
  // Pages stay as they are: the program may have locked some itself.
  const std::lock_guard<std::mutex> lock(mutex_);
  locked_.erase(handle);
  return locked;
}

void MemlockRegistrar::Deregister(uint64_t handle) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = locked_.find(handle);
  const absl::Span<std::byte> range = found->second;
  locked_.erase(found);
  Unlock(range);
}

// The range may be unmapped by now, which unlocks it as well: the result says nothing.
void MemlockRegistrar::Unlock(absl::Span<std::byte> range) {
  for (const auto& [handle, other] : locked_) {
    std::byte* const start = std::max(range.begin(), other.begin());
    std::byte* const end = std::min(range.end(), other.end());
    if (start >= end) continue;
    if (range.begin() < start) Unlock(absl::MakeSpan(range.begin(), start));
    range = absl::MakeSpan(end, range.end());
  }
  if (!range.empty()) munlock(range.data(), range.size());
}

}  // namespace mcp::internal
