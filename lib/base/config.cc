#include "lib/base/config.h"

#include <cstdlib>

#include "absl/strings/str_cat.h"

namespace mcp::internal {
namespace {

void ParseLogLevel(const char* text, Config* config) {
  if (text == nullptr) return;
  for (LogLevel level : {LogLevel::kError, LogLevel::kWarning, LogLevel::kInfo, LogLevel::kDebug}) {
    if (LogLevelName(level) == text) {
      config->log_level = level;
      return;
    }
  }
  config->complaints.push_back(
      absl::StrCat("MCP_LOG is \"", text, "\": expected error, warning, info or debug; using warning"));
}

}  // namespace

Config ParseConfig(EnvironmentLookup lookup) {
  Config config;
  ParseLogLevel(lookup("MCP_LOG"), &config);
  return config;
}

Config ConfigFromEnvironment() {
  return ParseConfig([](const char* name) -> const char* { return std::getenv(name); });
}

}  // namespace mcp::internal
