// mcp-perf: bandwidth and latency of mcp between two processes, every byte verified.

#include <cstdio>

#include "tools/mcp_perf/client.h"
#include "tools/mcp_perf/interrupt.h"
#include "tools/mcp_perf/loopback.h"
#include "tools/mcp_perf/options.h"
#include "tools/mcp_perf/server.h"

int main(int argc, char** argv) {
  using mcp::perf::Options;
  const mcp::perf::ParsedCommandLine parsed = mcp::perf::ParseCommandLine(argc, argv);
  std::fputs(parsed.out.c_str(), stdout);
  std::fputs(parsed.error.c_str(), stderr);
  if (!parsed.options) return parsed.exit_status;
  const Options& options = *parsed.options;
  mcp::perf::InstallInterruptHandler();
  switch (options.mode) {
    case Options::Mode::kServer:
      return mcp::perf::RunServer(options, -1);
    case Options::Mode::kClient:
      return mcp::perf::Client(options, options.host, options.port.value_or(mcp::perf::kDefaultPort)).Run();
    case Options::Mode::kLoopback:
      return mcp::perf::RunLoopback(options);
  }
}
