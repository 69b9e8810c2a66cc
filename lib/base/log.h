// Leveled log lines, to stderr or an injected sink. Never on the data path.
//
// A Logger belongs to an engine and is passed to what logs. Nothing is formatted or allocated for a level that is off.
//
// Thread rule: any thread; the sink is called by one thread at a time.
#ifndef MCP_LIB_BASE_LOG_H_
#define MCP_LIB_BASE_LOG_H_

#include <cstdint>
#include <mutex>
#include <string>

#include "absl/container/flat_hash_set.h"
#include "absl/functional/any_invocable.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace mcp::internal {

enum class LogLevel : uint8_t { kError, kWarning, kInfo, kDebug };

absl::string_view LogLevelName(LogLevel level);

// "mcp: warning: <text>\n" on stderr, in one write.
void LogToStderr(LogLevel level, absl::string_view text);

class Logger {
 public:
  using Sink = absl::AnyInvocable<void(LogLevel, absl::string_view)>;
  // LogOnce remembers this many texts; later ones are dropped, after one line that says so.
  static constexpr size_t kOnceMax = 1024;

  explicit Logger(LogLevel level, Sink sink = LogToStderr);

  bool Enabled(LogLevel level) const { return level <= level_; }

  // The parts are joined as absl::StrCat joins them.
  template <class... Parts>
  void Log(LogLevel level, const Parts&... parts) {
    if (Enabled(level)) Write(level, absl::StrCat(parts...));
  }

  // As Log, but each text only the first time.
  template <class... Parts>
  void LogOnce(LogLevel level, const Parts&... parts) {
    if (Enabled(level)) WriteOnce(level, absl::StrCat(parts...));
  }

 private:
  void Write(LogLevel level, absl::string_view text);
  void WriteOnce(LogLevel level, std::string text);

  const LogLevel level_;
  // std::mutex: the distribution's absl::Mutex is not built with TSan, which then sees races under it.
  std::mutex mutex_;  // guards what follows
  Sink sink_;
  absl::flat_hash_set<std::string> once_;
};

}  // namespace mcp::internal

#endif  // MCP_LIB_BASE_LOG_H_
