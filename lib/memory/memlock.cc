#include "lib/memory/memlock.h"

#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "lib/base/errno_status.h"
#include "lib/base/status_macros.h"
#include "lib/base/units.h"

namespace mcp::internal {
namespace {

std::string LimitText(uint64_t bytes) { return bytes == MemlockState::kUnlimited ? "unlimited" : FormatBytes(bytes); }

bool FitsLimit(const MemlockState& state, uint64_t bytes) {
  if (state.limit_bytes == MemlockState::kUnlimited) return true;
  return state.locked_bytes <= state.limit_bytes && bytes <= state.limit_bytes - state.locked_bytes;
}

absl::Status LimitError(const MemlockState& state, uint64_t bytes, absl::string_view what) {
  return absl::FailedPreconditionError(absl::StrCat(
      what, ": RLIMIT_MEMLOCK is ", LimitText(state.limit_bytes), " (hard limit ", LimitText(state.hard_limit_bytes),
      "), ", FormatBytes(state.locked_bytes), " of it in use, and ", FormatBytes(bytes),
      " more must be locked. Raise it with \"ulimit -l\", LimitMEMLOCK=infinity in the systemd unit, \"* - memlock "
      "unlimited\" in /etc/security/limits.conf, or \"--ulimit memlock=-1\" for a container"));
}

}  // namespace

MemlockState ReadMemlockState() {
  MemlockState state;
  rlimit limit{};
  static_assert(RLIM_INFINITY == MemlockState::kUnlimited);
  if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0) {
    state.limit_bytes = limit.rlim_cur;
    state.hard_limit_bytes = limit.rlim_max;
  }
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("VmLck:", 0) == 0) state.locked_bytes = std::strtoull(line.c_str() + 6, nullptr, 10) * kKiB;
    if (line.rfind("CapEff:", 0) == 0) {
      state.exempt = ((std::strtoull(line.c_str() + 7, nullptr, 16) >> CAP_IPC_LOCK) & 1) != 0;
    }
  }
  return state;
}

absl::Status CheckMemlock(const MemlockState& state, uint64_t bytes, absl::string_view what) {
  return state.exempt || FitsLimit(state, bytes) ? absl::OkStatus() : LimitError(state, bytes, what);
}

absl::Status LockMemory(void* address, uint64_t bytes, absl::string_view what) {
  const MemlockState state = ReadMemlockState();
  MCP_RETURN_IF_ERROR(CheckMemlock(state, bytes, what));
  if (mlock(address, bytes) == 0) return absl::OkStatus();
  const int error = errno;
  // In a user namespace the capability is seen, but does not count.
  if (error == EPERM || (error == ENOMEM && !FitsLimit(state, bytes))) {
    return LimitError(state, bytes, absl::StrCat(what, ": mlock: ", ErrnoText(error)));
  }
  return ErrnoStatus(error, absl::StrCat(what, ": mlock of ", FormatBytes(bytes)));
}

}  // namespace mcp::internal
