// The one list of the transports in this build.
#ifndef MCP_TRANSPORTS_BUILTIN_H_
#define MCP_TRANSPORTS_BUILTIN_H_

#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/base/log.h"
#include "lib/transport/provider.h"
#include "mcp/engine.h"

namespace mcp::internal {

// kInvalidArgument: this build has no transport of that name, or an option of it is wrong. kUnavailable: it has, and
// this host does not allow it; the message says why.
absl::StatusOr<std::unique_ptr<TransportProvider>> CreateProvider(absl::string_view name, const EngineOptions& options,
                                                                  Logger* logger);

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_BUILTIN_H_
