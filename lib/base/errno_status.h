// The operating system's errors as Status.
#ifndef MCP_LIB_BASE_ERRNO_STATUS_H_
#define MCP_LIB_BASE_ERRNO_STATUS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace mcp::internal {

// "ENOMEM (Cannot allocate memory)"
std::string ErrnoText(int error);

// "<what>: ENOMEM (Cannot allocate memory)", under the code that fits the error. `error` is an errno value, not 0.
absl::Status ErrnoStatus(int error, absl::string_view what);

}  // namespace mcp::internal

#endif  // MCP_LIB_BASE_ERRNO_STATUS_H_
