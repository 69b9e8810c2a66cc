#include "lib/base/log.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "lib/base/config.h"

namespace mcp::internal {
namespace {

struct Lines {
  Logger::Sink Sink() {
    return [this](LogLevel level, absl::string_view text) {
      lines.push_back(absl::StrCat(LogLevelName(level), ": ", text));
    };
  }
  std::vector<std::string> lines;
};

TEST(Log, WritesWhatItsLevelLetsThrough) {
  Lines lines;
  Logger logger(LogLevel::kInfo, lines.Sink());
  logger.Log(LogLevel::kError, "rail ", 3, " lost");
  logger.Log(LogLevel::kInfo, "info");
  logger.Log(LogLevel::kDebug, "debug");
  EXPECT_EQ(lines.lines, (std::vector<std::string>{"error: rail 3 lost", "info: info"}));
  EXPECT_TRUE(logger.Enabled(LogLevel::kWarning));
  EXPECT_FALSE(logger.Enabled(LogLevel::kDebug));
}

TEST(Log, OnceIsPerText) {
  Lines lines;
  Logger logger(LogLevel::kWarning, lines.Sink());
  for (int i = 0; i < 3; ++i) {
    logger.LogOnce(LogLevel::kWarning, "no huge pages");
    logger.LogOnce(LogLevel::kWarning, "lane ", i % 2);
    logger.LogOnce(LogLevel::kInfo, "off");
  }
  EXPECT_EQ(lines.lines, (std::vector<std::string>{"warning: no huge pages", "warning: lane 0", "warning: lane 1"}));
}

TEST(Log, OnceIsBounded) {
  Lines lines;
  Logger logger(LogLevel::kWarning, lines.Sink());
  for (size_t i = 0; i < Logger::kOnceMax + 10; ++i) logger.LogOnce(LogLevel::kWarning, i);
  ASSERT_EQ(lines.lines.size(), Logger::kOnceMax + 1);
  EXPECT_EQ(lines.lines.back(), "warning: more than 1024 different messages; the rest is dropped");
}

TEST(Log, OneThreadAtATime) {
  Lines lines;
  Logger logger(LogLevel::kWarning, lines.Sink());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&logger] {
      for (int i = 0; i < 100; ++i) logger.Log(LogLevel::kWarning, i);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(lines.lines.size(), 400u);
}

Config ConfigWith(const char* log) {
  return ParseConfig([log](const char* name) { return std::string(name) == "MCP_LOG" ? log : nullptr; });
}

TEST(Config, LogLevel) {
  EXPECT_EQ(ConfigWith(nullptr).log_level, LogLevel::kWarning);
  EXPECT_EQ(ConfigWith("debug").log_level, LogLevel::kDebug);
  EXPECT_EQ(ConfigWith("error").log_level, LogLevel::kError);
  EXPECT_TRUE(ConfigWith("info").complaints.empty());
}

TEST(Config, ComplainsOfWhatItCannotRead) {
  const Config config = ConfigWith("loud");
  EXPECT_EQ(config.log_level, LogLevel::kWarning);
  EXPECT_EQ(config.complaints,
            std::vector<std::string>{"MCP_LOG is \"loud\": expected error, warning, info or debug; using warning"});
}

}  // namespace
}  // namespace mcp::internal
