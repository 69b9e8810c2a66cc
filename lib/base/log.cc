#include "lib/base/log.h"

#include <cstdio>
#include <utility>

namespace mcp::internal {

absl::string_view LogLevelName(LogLevel level) {
  switch (level) {
    case LogLevel::kError:
      return "error";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kDebug:
      return "debug";
  }
  return "unknown";
}

void LogToStderr(LogLevel level, absl::string_view text) {
  const std::string line = absl::StrCat("mcp: ", LogLevelName(level), ": ", text, "\n");
  std::fwrite(line.data(), 1, line.size(), stderr);
}

Logger::Logger(LogLevel level, Sink sink) : level_(level), sink_(std::move(sink)) {}

void Logger::Write(LogLevel level, absl::string_view text) {
  const std::lock_guard<std::mutex> lock(mutex_);
  sink_(level, text);
}

void Logger::WriteOnce(LogLevel level, std::string text) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (once_.size() > kOnceMax || once_.contains(text)) return;
  if (once_.size() == kOnceMax) text = absl::StrCat("more than ", kOnceMax, " different messages; the rest is dropped");
  sink_(level, text);
  once_.insert(std::move(text));
}

}  // namespace mcp::internal
