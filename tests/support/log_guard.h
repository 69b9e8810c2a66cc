// A logger for a test: what it is told is printed only when the test fails, and an error that the test did not announce
// fails it.
#ifndef MCP_TESTS_SUPPORT_LOG_GUARD_H_
#define MCP_TESTS_SUPPORT_LOG_GUARD_H_

#include <mutex>
#include <string>
#include <vector>

#include "lib/base/log.h"

namespace mcp::internal {

class LogGuard {
 public:
  LogGuard();
  ~LogGuard();
  LogGuard(const LogGuard&) = delete;
  LogGuard& operator=(const LogGuard&) = delete;

  Logger* logger() { return &logger_; }
  // Any errors may be logged from here on: the test provokes them.
  void AllowErrors();
  std::vector<std::string> lines() const;

 private:
  void Take(LogLevel level, absl::string_view text);

  mutable std::mutex mutex_;
  bool errors_allowed_ = false;
  std::vector<std::string> errors_;
  std::vector<std::string> lines_;
  Logger logger_;
};

}  // namespace mcp::internal

#endif  // MCP_TESTS_SUPPORT_LOG_GUARD_H_
