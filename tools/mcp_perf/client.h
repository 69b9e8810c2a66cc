// The client: runs the tests against a server and reports.
#ifndef MCP_TOOLS_MCP_PERF_CLIENT_H_
#define MCP_TOOLS_MCP_PERF_CLIENT_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "mcp/engine.h"
#include "tools/mcp_perf/control_channel.h"
#include "tools/mcp_perf/options.h"
#include "tools/mcp_perf/output_file.h"
#include "tools/mcp_perf/progress_bar.h"
#include "tools/mcp_perf/report.h"

namespace mcp::perf {

class Client {
 public:
  Client(const Options& options, std::string host, uint16_t port);

  // Returns the exit status.
  int Run();

 private:
  absl::Status OpenOutputs();
  absl::Status Connect();
  absl::Status Hello();
  void RunTests();
  void RunTest(const TestKind& test, uint64_t size);
  // The tests that did not run, each with the reason.
  void FailTheRest(const absl::Status& reason);
  bool WriteOutputs();
  void PrintRow(const TestResult& result);
  void PrintError(const absl::Status& status);

  const Options& options_;
  const std::string host_;
  const uint16_t port_;
  Report report_;
  std::unique_ptr<OutputFile> json_, csv_, plot_;
  ProgressBar bar_;
  bool header_printed_ = false;
  bool no_path_ = false;
  bool failed_ = false;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<ControlChannel> control_;
};

}  // namespace mcp::perf

#endif  // MCP_TOOLS_MCP_PERF_CLIENT_H_
