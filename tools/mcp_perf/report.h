// The results of a run, and the forms they are written in.
#ifndef MCP_TOOLS_MCP_PERF_REPORT_H_
#define MCP_TOOLS_MCP_PERF_REPORT_H_

#include <string>
#include <vector>

#include "mcp/session.h"
#include "tools/mcp_perf/measurement.h"

namespace mcp::perf {

struct Side {
  HostInfo host;
  PathInfo path;
};

struct Report {
  std::string version;
  std::vector<std::string> command;
  Side local;
  Side remote;
  std::vector<Fallback> fallbacks;
  std::vector<TestResult> results;
};

// Adds what is not listed yet.
void AddFallbacks(const std::vector<Fallback>& more, Report& report);

double BandwidthBytesPerS(const TestResult& result);
double OperationsPerS(const TestResult& result);

// Schema mcp-perf/1.
std::string FormatJson(const Report& report);
// A header, and a row for each result.
std::string FormatCsv(const Report& report);
// A picture with two panels: bandwidth, and latency (p50 and p99), over size.
std::string FormatSvg(const Report& report);

// The table on stdout: what the run is about, the column titles, one line for each result.
struct TableSettings {
  bool checksum = true;
  bool verify = true;
  uint64_t outstanding = 16;  // asked for
};
std::string FormatTableHeader(const Report& report, const TableSettings& settings);
std::string FormatTableRow(const TestResult& result, const TableSettings& settings);

}  // namespace mcp::perf

#endif  // MCP_TOOLS_MCP_PERF_REPORT_H_
