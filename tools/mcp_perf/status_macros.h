// Early return of absl::Status, for this tool alone.
#ifndef MCP_TOOLS_MCP_PERF_STATUS_MACROS_H_
#define MCP_TOOLS_MCP_PERF_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"

#define MCP_PERF_RETURN_IF_ERROR(expression)                                               \
  do {                                                                                     \
    if (absl::Status status_of_it = (expression); !status_of_it.ok()) return status_of_it; \
  } while (false)

#define MCP_PERF_CONCATENATE_INNER(a, b) a##b
#define MCP_PERF_CONCATENATE(a, b) MCP_PERF_CONCATENATE_INNER(a, b)
#define MCP_PERF_ASSIGN_OR_RETURN_INNER(temporary, left, expression) \
  auto temporary = (expression);                                     \
  if (!temporary.ok()) return std::move(temporary).status();         \
  left = std::move(temporary).value()
#define MCP_PERF_ASSIGN_OR_RETURN(left, expression) \
  MCP_PERF_ASSIGN_OR_RETURN_INNER(MCP_PERF_CONCATENATE(status_or_, __LINE__), left, expression)

#endif  // MCP_TOOLS_MCP_PERF_STATUS_MACROS_H_
