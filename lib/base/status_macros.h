// MCP_RETURN_IF_ERROR(expression);
// MCP_ASSIGN_OR_RETURN(lhs, expression);   lhs may declare a variable; wrap a type that holds a comma in parentheses
//
// Both leave the enclosing function, which returns a Status or a StatusOr, with the expression's error.
#ifndef MCP_LIB_BASE_STATUS_MACROS_H_
#define MCP_LIB_BASE_STATUS_MACROS_H_

#include <utility>

#include "absl/base/optimization.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define MCP_RETURN_IF_ERROR(expression)                          \
  do {                                                           \
    absl::Status mcp_status = (expression);                      \
    if (ABSL_PREDICT_FALSE(!mcp_status.ok())) return mcp_status; \
  } while (false)

#define MCP_ASSIGN_OR_RETURN(lhs, ...) \
  MCP_ASSIGN_OR_RETURN_IMPL(MCP_STATUS_CONCATENATE(mcp_status_or_, __LINE__), lhs, (__VA_ARGS__))

#define MCP_ASSIGN_OR_RETURN_IMPL(status_or, lhs, expression)                    \
  auto status_or = expression;                                                   \
  if (ABSL_PREDICT_FALSE(!status_or.ok())) return std::move(status_or).status(); \
  lhs = *std::move(status_or)

#define MCP_STATUS_CONCATENATE(a, b) MCP_STATUS_CONCATENATE_IMPL(a, b)
#define MCP_STATUS_CONCATENATE_IMPL(a, b) a##b

#endif  // MCP_LIB_BASE_STATUS_MACROS_H_
