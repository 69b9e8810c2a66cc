// mcp-info: what this host has for mcp, and whether a path to a peer works.

#include <cstdio>

#include "mcp/engine.h"
#include "tools/mcp_info/check.h"
#include "tools/mcp_info/choice.h"
#include "tools/mcp_info/collect.h"
#include "tools/mcp_info/options.h"
#include "tools/mcp_info/report.h"

namespace {

using mcp::info::Options;
using mcp::info::Report;
using mcp::info::Step;

void Print(const std::string& text) {
  std::fputs(text.c_str(), stdout);
  std::fflush(stdout);
}

// What was asked for, with the facts: steps of a check are printed as they end, everything else at once.
void Ask(const Options& options, Report& report) {
  if (!options.to.empty()) {
    report.between = mcp::info::Choose(report.facts, options.from, options.to);
    if (!options.json) Print(mcp::info::FormatChoice(*report.between));
  } else if (!options.host.empty()) {
    report.check = mcp::info::CheckPath(options, report.facts, [&](const Step& step) {
      if (!options.json) Print(mcp::info::FormatStep(step));
    });
    if (!options.json) Print(mcp::info::FormatVerdict(*report.check));
  } else if (!options.json) {
    Print(mcp::info::FormatFacts(report));
  }
  if (options.json) Print(mcp::info::FormatJson(report));
}

bool Passed(const Report& report) {
  if (report.between && report.between->transport.empty()) return false;
  return !report.check || report.check->failed() == nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  const mcp::info::ParsedCommandLine parsed = mcp::info::ParseCommandLine(argc, argv);
  std::fputs(parsed.out.c_str(), stdout);
  std::fputs(parsed.error.c_str(), stderr);
  if (!parsed.options) return parsed.exit_status;
  Report report;
  report.version = std::string(mcp::Version());
  report.facts = mcp::info::CollectFacts();
  Ask(*parsed.options, report);
  if (std::ferror(stdout) != 0) {
    std::fputs("mcp-info: stdout: the report could not be written\n", stderr);
    return mcp::info::kExitCheckFailed;
  }
  return Passed(report) ? mcp::info::kExitOk : mcp::info::kExitCheckFailed;
}
