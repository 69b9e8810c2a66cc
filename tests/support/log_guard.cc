#include "tests/support/log_guard.h"

#include <cstdio>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace mcp::internal {
namespace {

constexpr size_t kLinesMax = 200;

}  // namespace

LogGuard::LogGuard()
    : logger_(LogLevel::kDebug, [this](LogLevel level, absl::string_view text) { Take(level, text); }) {}

LogGuard::~LogGuard() {
  for (const std::string& error : errors_) ADD_FAILURE() << "an error was logged: " << error;
  if (!testing::Test::HasFailure()) return;
  for (const std::string& line : lines_) std::fprintf(stderr, "  log: %s\n", line.c_str());
}

void LogGuard::AllowErrors() {
  std::lock_guard<std::mutex> lock(mutex_);
  errors_allowed_ = true;
}

std::vector<std::string> LogGuard::lines() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return lines_;
}

void LogGuard::Take(LogLevel level, absl::string_view text) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (level == LogLevel::kError && !errors_allowed_) errors_.emplace_back(text);
  if (lines_.size() < kLinesMax) lines_.push_back(absl::StrCat(LogLevelName(level), ": ", text));
}

}  // namespace mcp::internal
