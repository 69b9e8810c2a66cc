// A progress bar on stderr, where that is a terminal.
#ifndef MCP_TOOLS_MCP_PERF_PROGRESS_BAR_H_
#define MCP_TOOLS_MCP_PERF_PROGRESS_BAR_H_

#include <cstdint>
#include <string>

namespace mcp::perf {

class ProgressBar {
 public:
  explicit ProgressBar(bool quiet);

  // `done`: 0 to 1. Draws at most ten times a second.
  void Show(const std::string& label, double done);
  // Leaves the line empty for other output.
  void Clear();

 private:
  const bool shown_;
  bool drawn_ = false;
  int64_t last_ns_ = 0;
};

}  // namespace mcp::perf

#endif  // MCP_TOOLS_MCP_PERF_PROGRESS_BAR_H_
