// Locking pages in memory, and the limit on it, which is the first thing that fails on a new machine: errors here name
// the limit, the need, and how to raise it.
//
// Thread rule: any thread. The limit and what counts against it are the process's, so a check may be outrun.
#ifndef MCP_LIB_MEMORY_MEMLOCK_H_
#define MCP_LIB_MEMORY_MEMLOCK_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace mcp::internal {

struct MemlockState {
  static constexpr uint64_t kUnlimited = ~uint64_t{0};

  uint64_t limit_bytes = 0;       // RLIMIT_MEMLOCK, soft: what counts
  uint64_t hard_limit_bytes = 0;  // how far the process may raise it itself
  uint64_t locked_bytes = 0;      // by this process now
  bool exempt = false;            // CAP_IPC_LOCK: the limit does not count
};

MemlockState ReadMemlockState();

// Whether `bytes` more may be locked. kFailedPrecondition otherwise: "<what>: RLIMIT_MEMLOCK is 8 KiB ...".
absl::Status CheckMemlock(const MemlockState& state, uint64_t bytes, absl::string_view what);

// Checks, then locks. `what` begins the message of an error: "allocate 64 MiB".
absl::Status LockMemory(void* address, uint64_t bytes, absl::string_view what);

}  // namespace mcp::internal

#endif  // MCP_LIB_MEMORY_MEMLOCK_H_
