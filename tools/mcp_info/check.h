// Tries a path to a running mcp-perf server, step by step, up to the first that fails.
//
// Every step is bounded in time. The server sees a client that measures one small transfer.
#ifndef MCP_TOOLS_MCP_INFO_CHECK_H_
#define MCP_TOOLS_MCP_INFO_CHECK_H_

#include <functional>
#include <string>
#include <vector>

#include "tools/mcp_info/facts.h"
#include "tools/mcp_info/options.h"

namespace mcp::info {

struct Step {
  enum class Outcome { kPassed, kFailed, kSkipped };
  std::string name;  // "resolve", "route", "tcp", "mcp", "server", "rdma", "transfer"
  Outcome outcome = Outcome::kPassed;
  std::string detail;  // what was found, or what went wrong in the system's words
  std::string cause;   // of a failure: what it usually is, and what to try
};
const char* OutcomeName(Step::Outcome outcome);

struct CheckReport {
  std::string host;
  int port = 0;
  std::string transport;  // that the transfer used; empty: it did not come to that
  std::vector<Step> steps;

  const Step* failed() const;  // the first that failed; null: the path works
};

// `shown` sees each step as it ends.
CheckReport CheckPath(const Options& options, const Facts& facts, const std::function<void(const Step&)>& shown);

}  // namespace mcp::info

#endif  // MCP_TOOLS_MCP_INFO_CHECK_H_
