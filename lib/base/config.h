// What the environment decides. The only place that reads it; everything else is told by argument.
//
//   MCP_LOG   error, warning, info or debug: what is logged. Default: warning.
#ifndef MCP_LIB_BASE_CONFIG_H_
#define MCP_LIB_BASE_CONFIG_H_

#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "lib/base/log.h"

namespace mcp::internal {

struct Config {
  LogLevel log_level = LogLevel::kWarning;
  // Variables that were set to what they cannot be, in words; their defaults stand. To be logged by who reads them.
  std::vector<std::string> complaints;
};

// Like getenv: null when the variable is not set.
using EnvironmentLookup = absl::FunctionRef<const char*(const char* name)>;

Config ParseConfig(EnvironmentLookup lookup);
Config ConfigFromEnvironment();

}  // namespace mcp::internal

#endif  // MCP_LIB_BASE_CONFIG_H_
