// Whether pages can be locked, and counted, where a test runs.
#ifndef MCP_TESTS_SUPPORT_LOCKING_H_
#define MCP_TESTS_SUPPORT_LOCKING_H_

#include <sys/mman.h>

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "lib/memory/memlock.h"

namespace mcp::internal {

// Why so many bytes cannot be locked; empty: they can.
inline std::string WhyNotLocked(uint64_t bytes) {
  if (const absl::Status room = CheckMemlock(ReadMemlockState(), bytes, "test"); !room.ok()) return room.ToString();
  return mlock(nullptr, 4096) == 0 ? "this sanitizer replaces mlock by nothing" : "";
}

}  // namespace mcp::internal

#endif  // MCP_TESTS_SUPPORT_LOCKING_H_
